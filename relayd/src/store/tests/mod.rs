//! Tests of the store on real databases: every test of this module runs on SQLite and on
//! PostgreSQL, unless it is about one of them.

mod audit;
mod concurrency;
mod crash;
mod dead;
pub(crate) mod fixture;
mod late;
mod ledger;
mod listings;
mod plane;
mod postgres;
mod providers;
mod sqlite;
mod twins;
mod usage;

/// Makes of each named function a test on SQLite and one on PostgreSQL.
macro_rules! on_both {
    ($($name:ident,)+) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::store::tests::fixture::Fixture::sqlite()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::store::tests::fixture::Fixture::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;
