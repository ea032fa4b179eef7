//! Tests of the store on real databases.

use super::*;

#[tokio::test]
async fn opens_and_closes() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::sqlite(dir.path().join("relay.db"));
    let store = Store::open(&options).await.unwrap();
    store.ping().await.unwrap();
    let second = Store::open(&options).await.unwrap_err();
    assert!(matches!(second, StoreError::Locked(_)), "{second}");
    let reader = Store::open_read_only(&options).await.unwrap();
    reader.ping().await.unwrap();
    reader.close().await;
    store.close().await;
}
