//! More replicas of a relay: `relayd serve` on the same database, on sockets that the test holds.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use command_fds::{CommandFdExt as _, FdMapping};

use crate::place::binary;
use crate::relay::{Ready, Relay, read};

/// Longest start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The first descriptor that is handed over, by the protocol of socket activation.
const FIRST_FD: i32 = 3;

/// The four sockets of a replica, listening; whoever holds them may hand them to one process after
/// the other.
pub struct Sockets([TcpListener; 4]);

impl Sockets {
    /// Four free ports on loopback.
    ///
    /// # Errors
    /// When there are none.
    pub fn bind() -> anyhow::Result<Self> {
        let bind = || TcpListener::bind("127.0.0.1:0");
        Ok(Self([bind()?, bind()?, bind()?, bind()?]))
    }

    fn addresses(&self) -> anyhow::Result<[SocketAddr; 4]> {
        let [public, admin, fleet, ops] = &self.0;
        Ok([public.local_addr()?, admin.local_addr()?, fleet.local_addr()?, ops.local_addr()?])
    }
}

impl Relay {
    /// Starts another replica on the database, the pepper and the authority of this one, which is
    /// handed `sockets`, and waits until it takes traffic.
    ///
    /// # Errors
    /// When it ends or is not up in time; the error holds its log.
    pub fn replica(&self, sockets: &Sockets) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let [public, admin, fleet, ops] = sockets.addresses()?;
        let (here, first) = (dir.path().display(), self.ready.data_dir.display());
        let config = format!(
            r#"
data_dir = "{here}/data"
[identity]
pepper_files = ["{first}/pepper"]
[fleet]
pki_dir = "{first}/fleet-pki"
[[listener.public]]
listen = "{public}"
[listener.admin]
listen = "{admin}"
[listener.fleet]
listen = "{fleet}"
[listener.ops]
listen = "{ops}"
"#
        );
        let file = dir.path().join("relayd.toml");
        fs::write(&file, config)?;
        let open =
            |name: &str| fs::File::options().create(true).append(true).open(dir.path().join(name));
        let mut mappings = Vec::new();
        for (socket, child_fd) in sockets.0.iter().zip(FIRST_FD..) {
            mappings.push(FdMapping { parent_fd: socket.try_clone()?.into(), child_fd });
        }
        let mut command = Command::new(binary("relayd")?);
        command
            .args(["serve", "--config"])
            .arg(&file)
            .env("LISTEN_FDS", mappings.len().to_string())
            .env("RELAY__TELEMETRY__LOG_FILTER", "info,relayd=debug")
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(open("relayd.out")?)
            .stderr(open("relayd.log")?)
            .process_group(0)
            .fd_mappings(mappings)
            .context("the sockets cannot be handed over")?;
        let mut child = command.spawn().context("cannot start relayd")?;
        let until = Instant::now() + START_TIMEOUT;
        // Its own word: an older process may answer on the same sockets.
        while !read(dir.path(), "relayd.log").contains("takes traffic") {
            if let Some(status) = child.try_wait()? {
                bail!("relayd ended with {status}:\n{}", read(dir.path(), "relayd.log"));
            }
            if Instant::now() > until {
                let _ = child.kill();
                bail!("relayd was not up in time:\n{}", read(dir.path(), "relayd.log"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let ready = Ready {
            public_url: format!("http://{public}"),
            admin_addr: admin.to_string(),
            fleet_addr: fleet.to_string(),
            ops_url: format!("http://{ops}"),
            data_dir: dir.path().join("data"),
            pid: child.id(),
            ..self.ready.clone()
        };
        Ok(Self { child, dir: Some(dir), environment: self.environment.clone(), ready })
    }
}
