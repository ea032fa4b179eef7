//! One database a test, on the server that `tests/run` starts, or else on one of the test's own.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::place::{engines_dir, repository};

/// The variable that names the server.
const SERVER: &str = "RELAY_TEST_DATABASE_URL";

/// Where the databases of this process are made.
static SERVER_URL: OnceCell<String> = OnceCell::const_new();

/// An empty database. It goes away with the server.
pub struct Database {
    /// `postgres://...`, for `store.url_file`.
    pub url: String,
}

impl Database {
    /// Makes an empty database.
    ///
    /// # Errors
    /// When there is no server and none can be started.
    pub async fn create() -> anyhow::Result<Self> {
        let server = SERVER_URL
            .get_or_try_init(async || match std::env::var(SERVER) {
                Ok(url) => Ok(url),
                Err(_) => tokio::task::spawn_blocking(start_server).await?,
            })
            .await?;
        let name = format!("relay_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(server).await?;
        // A name of our own making: a fixed word and hex digits.
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}")))
            .execute(&mut connection)
            .await?;
        let mut url = reqwest::Url::parse(server)?;
        url.set_path(&name);
        Ok(Self { url: url.to_string() })
    }
}

/// Starts a server that ends with this process: the pipe to it closes.
fn start_server() -> anyhow::Result<String> {
    let mut child = Command::new(engines_dir()?.join("test-venv/bin/python"))
        .arg(repository().join("tests/engines/postgres.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start PostgreSQL")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    let Some(url) = line.trim().strip_prefix("URL ") else {
        bail!("PostgreSQL did not start");
    };
    // The handle holds the pipe; it is kept for as long as the process lives.
    std::mem::forget(child);
    Ok(url.to_owned())
}
