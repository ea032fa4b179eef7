//! The rules of the table.

use super::*;

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(id, key)| ((*id).to_owned(), (*key).to_owned())).collect()
}

#[test]
fn no_two_actions_of_a_screen_share_a_key() {
    Keymap::with(&BTreeMap::new()).unwrap();
}

#[test]
fn each_action_has_help_and_an_id_of_its_own() {
    let ids: std::collections::BTreeSet<_> = ACTIONS.iter().map(|action| action.id).collect();
    let acts: std::collections::BTreeSet<_> = ACTIONS.iter().map(|action| action.act).collect();
    assert_eq!((ids.len(), acts.len()), (ACTIONS.len(), ACTIONS.len()));
    for action in ACTIONS {
        assert!(!action.help.is_empty() && !action.id.contains(' '), "{}", action.id);
        assert_eq!(Action::of(action.act).id, action.id);
    }
}

#[test]
fn verbs_are_plain_letters_and_capitals_interrupt() {
    for action in ACTIONS.iter().filter(|action| action.changes) {
        assert!(action.role > Role::Viewer, "{}", action.id);
        for press in action.keys {
            let Code::Char(letter) = press.code else { panic!("{} on {press}", action.id) };
            assert!(!press.ctrl && letter.is_ascii_alphabetic(), "{}", action.id);
            let asks_most = action.level == Level::Name || action.act == Act::Weight;
            assert_eq!(letter.is_ascii_uppercase(), asks_most, "{}", action.id);
        }
    }
}

#[test]
fn a_letter_keeps_one_idea_on_all_screens() {
    // Verbs of one idea on objects of different kinds.
    let idea = |id| match id {
        "revoke" | "reject" | "rollback" => "end",
        "uncordon" | "reconsider" | "resume" => "undo a stop",
        "approve" | "advance" => "let it go on",
        "new" | "start" => "begin something",
        "limits" | "bound" | "revise" => "edit",
        other => other,
    };
    let mut ideas: BTreeMap<Press, &str> = BTreeMap::new();
    for action in ACTIONS {
        for press in action.keys {
            let own = idea(action.id);
            assert_eq!(*ideas.entry(*press).or_insert(own), own, "{press}");
        }
    }
}

#[test]
fn overrides_are_checked() {
    let map = Keymap::with(&overrides(&[("cordon", "o"), ("redraw", "ctrl-k")])).unwrap();
    assert_eq!(map.act(Screen::Backends, Press::char('o')), Some(Act::Cordon));
    assert_eq!(map.act(Screen::Backends, Press::char('c')), None);
    assert_eq!(map.act(Screen::Keys, Press::ctrl('k')), Some(Act::Redraw));
    let wrong = |pairs: &[(&str, &str)]| Keymap::with(&overrides(pairs)).unwrap_err();
    assert_eq!(wrong(&[("fly", "f")]), KeymapError::NoAction("fly".into()));
    assert!(matches!(wrong(&[("cordon", "cc")]), KeymapError::NoKey { .. }));
    assert!(matches!(wrong(&[("cordon", "q")]), KeymapError::Clash { .. }));
    assert_eq!(wrong(&[("cordon", "ctrl-o")]), KeymapError::VerbOnCtrl("cordon"));
}
