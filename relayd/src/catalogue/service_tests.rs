//! The catalogue against a real store.

use super::*;
use crate::catalogue::SHIPPED_TIERS;
use crate::domain::ModeRequest;
use crate::domain::Source;
use crate::store::StoreOptions;

const EXAMPLE: &str = include_str!("../../../config/catalogue/examples/models.toml");
const NAME: &str = "Qwen/Qwen3-8B";

fn document(toml: &str) -> [Document<'_>; 1] {
    [Document { name: "a.toml", toml }]
}

async fn open() -> (tempfile::TempDir, Store, Catalogue) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::sqlite(dir.path().join("relay.db"))).await.unwrap();
    let catalogue = Catalogue::load(store.clone()).await.unwrap();
    (dir, store, catalogue)
}

async fn filled() -> (tempfile::TempDir, Store, Catalogue) {
    let (dir, store, catalogue) = open().await;
    let documents = [
        Document { name: "tiers.toml", toml: SHIPPED_TIERS },
        Document { name: "models.toml", toml: EXAMPLE },
    ];
    assert!(catalogue.is_empty().await.unwrap());
    assert!(catalogue.apply(&documents, None).await.unwrap().applied);
    assert!(!catalogue.is_empty().await.unwrap());
    (dir, store, catalogue)
}

fn rate(catalogue: &Catalogue) -> (String, i64) {
    let snapshot = catalogue.snapshot();
    let access = crate::catalogue::Access::Key { tier: "max", denied: &[], allowlist: None };
    let offer = snapshot.resolve(Source::Openai, NAME, ModeRequest::Auto, access).unwrap();
    (offer.price.id.to_string(), offer.price.rates.in_uncached)
}

#[tokio::test]
async fn an_export_applied_changes_nothing_and_prints_the_same_bytes() {
    let (_dir, _store, catalogue) = filled().await;
    let printed = catalogue.export().await.unwrap();
    let before = catalogue.snapshot();
    let again = catalogue.apply(&document(&printed), None).await.unwrap();
    assert_eq!(again, Applied { differences: Vec::new(), applied: false });
    assert_eq!(catalogue.export().await.unwrap(), printed);
    assert!(Arc::ptr_eq(&before, &catalogue.snapshot()), "nothing was read again either");

    let (_dir, _store, other) = open().await;
    other.apply(&document(&printed), None).await.unwrap();
    assert_eq!(other.export().await.unwrap(), printed, "byte for byte in another database");
}

#[tokio::test]
async fn a_changed_price_is_a_new_row() {
    let (_dir, store, catalogue) = filled().await;
    let (old_id, old_rate) = rate(&catalogue);
    assert_eq!(old_rate, 50_000_000);
    let dearer = EXAMPLE.replacen("in_uncached = \"0.05\"", "in_uncached = \"0.06\"", 1);
    let plan = catalogue.plan(&document(&dearer)).await.unwrap();
    assert_eq!((plan.differences.len(), plan.applied), (1, false));
    assert_eq!(rate(&catalogue).1, old_rate, "a plan changes nothing");
    let changes = catalogue.changes();
    catalogue.apply(&document(&dearer), None).await.unwrap();
    assert!(changes.has_changed().unwrap());
    let (new_id, new_rate) = rate(&catalogue);
    assert_eq!(new_rate, 60_000_000);
    assert_ne!(new_id, old_id);
    let kept = store.price(&old_id.parse().unwrap()).await.unwrap();
    assert_eq!(kept.rates.in_uncached, 50_000_000);
    // And back again: the first row stays history.
    catalogue.apply(&document(EXAMPLE), None).await.unwrap();
    let (third_id, third_rate) = rate(&catalogue);
    assert_eq!(third_rate, 50_000_000);
    assert!(third_id != old_id && third_id != new_id);
}

#[tokio::test]
async fn what_a_document_does_not_name_stays() {
    let (_dir, store, catalogue) = filled().await;
    let fewer = EXAMPLE.split("[[model.offer]]\nsource = \"anthropic\"").next().unwrap();
    let applied = catalogue.apply(&document(fewer), None).await.unwrap();
    assert_eq!(applied.differences.len(), 1);
    let snapshot = catalogue.snapshot();
    assert_eq!(snapshot.listing(NAME).unwrap().offers.len(), 1, "an offer can go");
    assert_eq!(snapshot.tiers().len(), 4);
    assert_eq!(snapshot.backends().len(), 1);
    assert_eq!(store.backends().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_mistake_leaves_everything_as_it_was() {
    let (_dir, _store, catalogue) = filled().await;
    let printed = catalogue.export().await.unwrap();
    let bad = EXAMPLE.replace("0.0125", "-1");
    let error = catalogue.apply(&document(&bad), None).await.unwrap_err();
    assert!(error.to_string().starts_with("a.toml:"), "{error}");
    assert_eq!(Fault::from(error).code, Code::ValidationError);
    assert_eq!(catalogue.export().await.unwrap(), printed);
}

#[tokio::test]
async fn another_replica_sees_a_change_when_it_looks() {
    let (_dir, store, catalogue) = filled().await;
    let other = Catalogue::load(store).await.unwrap();
    let retired = EXAMPLE.replace("retired = false", "retired = true");
    catalogue.apply(&document(&retired), None).await.unwrap();
    assert!(!other.snapshot().listing(NAME).unwrap().model.retired);
    other.reload().await.unwrap();
    let snapshot = other.snapshot();
    assert!(snapshot.listing(NAME).unwrap().model.retired);
    let refused =
        snapshot.resolve(Source::Openai, NAME, ModeRequest::Auto, crate::catalogue::Access::Guest);
    assert_eq!(refused.unwrap_err().code, Code::ModelRetired);
}
