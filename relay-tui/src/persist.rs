//! What is remembered between runs: the screen, the sorts, the columns, the length of charts, per context.
//!
//! It is a convenience: what cannot be read or written is forgotten without a word, and nothing
//! that a daemon said is ever in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::model::layout::Panel;
use crate::model::table::Sort;
use crate::model::{Model, Screen};

/// Largest file that is read, in bytes; ours is far smaller.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Contexts that are remembered.
const CONTEXTS_MAX: usize = 64;

/// Lists whose sort is remembered; events are always looked at from the newest.
const SORTED: [(&str, Panel); 6] = [
    ("gpus", Panel::GpuList),
    ("backends", Panel::BackendList),
    ("models", Panel::ModelList),
    ("keys", Panel::KeyList),
    ("providers", Panel::ProviderList),
    ("requests", Panel::Running),
];

/// Where it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    file: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    context: BTreeMap<String, Remembered>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Remembered {
    screen: String,
    range_s: usize,
    other_columns: bool,
    sorts: BTreeMap<String, SortWord>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SortWord {
    field: String,
    descending: bool,
}

impl From<Sort> for SortWord {
    fn from(sort: Sort) -> Self {
        Self { field: sort.field.to_owned(), descending: sort.descending }
    }
}

impl Memory {
    /// `$XDG_STATE_HOME/relay/relay-tui.toml`, by default under `~/.local/state`.
    pub(crate) fn of(environment: &Environment) -> Self {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let folder = set("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(set("HOME")?).join(".local").join("state")));
        Self { file: folder.map(|folder| folder.join("relay").join("relay-tui.toml")) }
    }

    /// Puts the console where it was left in this context.
    pub(crate) fn recall(&self, model: &mut Model) {
        let Some(then) = self.read().context.remove(&model.context.name) else { return };
        if let Some(screen) = Screen::from_word(&then.screen) {
            model.screen = screen;
        }
        model.set_range(then.range_s);
        model.other_columns = then.other_columns;
        for (word, panel) in SORTED {
            if let (Some(sort), Some(list)) = (then.sorts.get(word), model.list_mut(panel)) {
                list.sort_as(&sort.field, sort.descending);
            }
        }
    }

    /// Remembers where the console is left.
    pub(crate) fn keep(&self, model: &Model) {
        let Some(file) = &self.file else { return };
        let mut all = self.read();
        let sorts = SORTED.iter().filter_map(|(word, panel)| {
            Some(((*word).to_owned(), model.list(*panel)?.sort().into()))
        });
        let now = Remembered {
            screen: model.screen.word().to_owned(),
            range_s: model.range_s,
            other_columns: model.other_columns,
            sorts: sorts.collect(),
        };
        all.context.insert(model.context.name.clone(), now);
        while all.context.len() > CONTEXTS_MAX {
            all.context.pop_first();
        }
        let _ = write(file, &all);
    }

    fn read(&self) -> File {
        let small = |file: &PathBuf| {
            std::fs::metadata(file).is_ok_and(|found| found.len() <= FILE_MAX_BYTES)
        };
        self.file
            .as_ref()
            .filter(|file| small(file))
            .and_then(|file| std::fs::read_to_string(file).ok())
            .and_then(|text| toml::from_str(&text).ok())
            .unwrap_or_default()
    }
}

/// Whole or not at all: another console may read at the same time.
fn write(file: &Path, all: &File) -> std::io::Result<()> {
    let text = toml::to_string(all).map_err(std::io::Error::other)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keymap::Keymap;
    use crate::model::Context;

    fn model(context: &str) -> Model {
        let context = Context { name: context.into(), ..Context::default() };
        Model::new(context, Keymap::with(&BTreeMap::new()).unwrap())
    }

    fn memory(folder: &Path) -> Memory {
        let home = folder.to_str().unwrap().to_owned();
        Memory::of(&Environment::from([("HOME".to_owned(), home)]))
    }

    #[test]
    fn each_context_is_found_as_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let memory = memory(folder.path());
        let mut left = model("prod");
        left.screen = Screen::Keys;
        left.set_range(300);
        left.keys.sort = Sort { field: "tokens", descending: false };
        memory.keep(&left);
        memory.keep(&model("lab"));
        let mut found = model("prod");
        memory.recall(&mut found);
        assert_eq!((found.screen, found.range_s), (Screen::Keys, 300));
        assert_eq!(found.keys.sort, left.keys.sort);
        let mut other = model("lab");
        memory.recall(&mut other);
        assert_eq!(other.screen, Screen::Overview);
    }

    #[test]
    fn what_is_not_understood_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let memory = memory(folder.path());
        let file = memory.file.clone().unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        for text in [
            "[",
            "[context.prod]\nscreen = 'moon'\nrange_s = 7\n[context.prod.sorts.keys]\nfield = 'x'\n",
        ] {
            std::fs::write(&file, text).unwrap();
            let mut found = model("prod");
            memory.recall(&mut found);
            assert_eq!((found.screen, found.range_s), (Screen::Overview, 60));
            assert_eq!(found.keys.sort, model("prod").keys.sort);
        }
        Memory::default().keep(&model("nowhere"));
    }
}
