use std::os::unix::fs::PermissionsExt;

use super::*;

fn year() -> Validity {
    Validity::days(365).unwrap()
}

#[test]
fn an_authority_survives_the_disk_and_still_signs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("pki");
    let made = Authority::open(&folder, "test").unwrap();
    let read = Authority::open(&folder, "other name").unwrap();
    assert_eq!(made.cert_pem(), read.cert_pem());
    let leaf = read.issue(&Purpose::Server(vec!["localhost".into()]), year()).unwrap();
    assert!(leaf.cert_pem.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn files_are_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create("test", year()).unwrap();
    authority.save(folder.path()).unwrap();
    let leaf = authority.issue(&Purpose::Client("alice".into()), year()).unwrap();
    let (cert, key) = leaf.save(folder.path(), "alice").unwrap();
    for path in [cert, key.clone(), folder.path().join(AUTHORITY_KEY)] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    assert!(matches!(authority.save(folder.path()), Err(PkiError::Exists(_))));
    let before = std::fs::read(&key).unwrap();
    assert!(matches!(leaf.save(folder.path(), "alice"), Err(PkiError::Exists(_))));
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

#[test]
fn half_an_authority_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    Authority::create("test", year()).unwrap().save(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join(AUTHORITY_KEY)).unwrap();
    assert!(matches!(Authority::open(folder.path(), "test"), Err(PkiError::Io { .. })));
    std::fs::write(folder.path().join(AUTHORITY_KEY), "not a key").unwrap();
    assert!(matches!(Authority::open(folder.path(), "test"), Err(PkiError::Authority { .. })));
}

#[test]
fn names_and_days_are_checked() {
    let authority = Authority::create("test", year()).unwrap();
    for bad in ["", "a b", "a/b", "\u{1b}[2J", &"x".repeat(65)] {
        let purpose = Purpose::Server(vec![bad.to_owned()]);
        assert!(matches!(authority.issue(&purpose, year()), Err(PkiError::Name(_))), "{bad:?}");
    }
    assert!(matches!(authority.issue(&Purpose::Server(vec![]), year()), Err(PkiError::Name(_))));
    for good in ["relay.example.com", "10.0.0.1", "::1", "*.example.com"] {
        authority.issue(&Purpose::Server(vec![good.to_owned()]), year()).unwrap();
    }
    assert!(matches!(Validity::days(0), Err(PkiError::Days(0))));
    assert!(matches!(Validity::days(MAX_DAYS + 1), Err(PkiError::Days(_))));
}

#[test]
fn debug_shows_no_key() {
    let authority = Authority::create("test", year()).unwrap();
    let leaf = authority.issue(&Purpose::Client("alice".into()), year()).unwrap();
    let text = format!("{authority:?} {leaf:?}");
    assert!(!text.contains("PRIVATE"), "{text}");
}
