//! One database a test, on the server that `tests/run` starts.

use anyhow::Context as _;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

/// The variable that names the server.
const SERVER: &str = "RELAY_TEST_DATABASE_URL";

/// An empty database. It goes away with the server.
pub struct Database {
    /// `postgres://...`, for `store.url_file`.
    pub url: String,
}

impl Database {
    /// Makes an empty database.
    ///
    /// # Errors
    /// When no server was named: the suite runs through `tests/run`.
    pub async fn create() -> anyhow::Result<Self> {
        let server = std::env::var(SERVER).with_context(|| {
            format!("{SERVER} names no PostgreSQL server; run the suite with tests/run")
        })?;
        let name = format!("relay_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&server).await?;
        // A name of our own making: a fixed word and hex digits.
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}")))
            .execute(&mut connection)
            .await?;
        let mut url = reqwest::Url::parse(&server)?;
        url.set_path(&name);
        Ok(Self { url: url.to_string() })
    }
}
