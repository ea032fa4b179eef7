//! `relayd pki`: certificates for the admin listener and its clients.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output;
use crate::pki::{
    AUTHORITY_CERT, AUTHORITY_DAYS, Authority, Issued, LEAF_DAYS, PkiError, Purpose, Validity,
};

const EXAMPLES: &str = "\
Example: the admin plane on a private network
  relayd pki ca --dir pki
  relayd pki server --dir pki --name relay.example.com --name 10.0.0.5
  relayd pki client --dir pki --name alice

  [listener.admin]
  listen = \"10.0.0.5:8701\"
  client_ca_file = \"pki/ca.pem\"
  tls = { cert_file = \"pki/server.pem\", key_file = \"pki/server-key.pem\" }

Then: relayd admin --addr https://relay.example.com:8701 --ca pki/ca.pem \\
        --client-cert pki/alice.pem --client-key pki/alice-key.pem whoami";

/// Make certificates.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PkiArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A new authority: ca.pem and ca-key.pem.
    Ca {
        /// The folder to write to.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The authority's name.
        #[arg(long, default_value = "Relay authority")]
        name: String,
        /// Days it is valid.
        #[arg(long, default_value_t = AUTHORITY_DAYS)]
        days: u32,
    },
    /// A server's certificate, signed by the folder's authority.
    Server {
        /// The authority's folder; the files are written there too.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// A DNS name or address under which clients call; may be repeated.
        #[arg(long, required = true)]
        name: Vec<String>,
        /// The files' name without its ending.
        #[arg(long, value_name = "STEM", default_value = "server")]
        out: String,
        /// Days it is valid.
        #[arg(long, default_value_t = LEAF_DAYS)]
        days: u32,
    },
    /// A client's certificate, signed by the folder's authority.
    Client {
        /// The authority's folder; the files are written there too.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Whose it is; also the files' name.
        #[arg(long)]
        name: String,
        /// Days it is valid.
        #[arg(long, default_value_t = LEAF_DAYS)]
        days: u32,
    },
}

/// Runs the command: says which files it wrote.
#[must_use]
pub fn main(arguments: PkiArgs) -> ExitCode {
    match run(arguments.verb) {
        Ok(files) => {
            for file in files {
                output::line(format_args!("wrote {}", file.display()));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::problem(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<Vec<PathBuf>, PkiError> {
    let (dir, stem, issued) = match verb {
        Verb::Ca { dir, name, days } => {
            Authority::create(&name, Validity::days(days)?)?.save(&dir)?;
            return Ok(vec![dir.join(AUTHORITY_CERT), dir.join(crate::pki::AUTHORITY_KEY)]);
        }
        Verb::Server { dir, name, out, days } => {
            let issued = issue(&dir, &Purpose::Server(name), days)?;
            (dir, out, issued)
        }
        Verb::Client { dir, name, days } => {
            let issued = issue(&dir, &Purpose::Client(name.clone()), days)?;
            (dir, name, issued)
        }
    };
    if stem.contains(['/', '\\']) || stem.starts_with('.') {
        return Err(PkiError::Name(stem));
    }
    let (cert, key) = issued.save(&dir, &stem)?;
    Ok(vec![cert, key])
}

fn issue(dir: &std::path::Path, purpose: &Purpose, days: u32) -> Result<Issued, PkiError> {
    Authority::load(dir)?.issue(purpose, Validity::days(days)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(dir: PathBuf, name: &str) -> Verb {
        Verb::Client { dir, name: name.into(), days: 1 }
    }

    #[test]
    fn a_folder_gets_an_authority_a_server_and_a_client() {
        let folder = tempfile::tempdir().unwrap();
        let dir = || folder.path().to_owned();
        assert!(run(client(dir(), "alice")).is_err(), "no authority yet");
        run(Verb::Ca { dir: dir(), name: "test".into(), days: 1 }).unwrap();
        let name = vec!["localhost".to_owned()];
        run(Verb::Server { dir: dir(), name, out: "server".into(), days: 1 }).unwrap();
        let files = run(client(dir(), "alice")).unwrap();
        assert_eq!(files, [dir().join("alice.pem"), dir().join("alice-key.pem")]);
        assert!(matches!(run(client(dir(), "alice")), Err(PkiError::Exists(_))));
        assert!(matches!(run(client(dir(), "../eve")), Err(PkiError::Name(_))));
    }
}
