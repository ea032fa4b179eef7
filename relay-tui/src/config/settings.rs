//! The console's own settings: colours, glyphs, mouse, keys.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{ConfigError, Environment, in_config_folder, read};
use crate::keymap::Keymap;
use crate::model::{Colours, GlyphSet, ThemeName};

/// How the console looks and listens.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) theme: ThemeName,
    pub(crate) glyphs: GlyphSet,
    pub(crate) colours: Colours,
    /// Times as on this machine, not in UTC.
    pub(crate) local_time: bool,
    pub(crate) mouse: bool,
    pub(crate) keymap: Keymap,
}

/// `relay-tui.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    theme: Option<String>,
    glyphs: Option<String>,
    time: Option<String>,
    mouse: bool,
    colours: BTreeMap<String, String>,
    keys: BTreeMap<String, String>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            theme: None,
            glyphs: None,
            time: None,
            mouse: true,
            colours: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the settings file and lets flags and the environment win.
    ///
    /// # Errors
    /// A file that is named and cannot be read, a file or a word that is not understood, keys that
    /// clash.
    pub(crate) fn load(
        file: Option<&Path>,
        theme: Option<&str>,
        glyphs: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let usual = in_config_folder(environment, "relay-tui.toml").filter(|file| file.exists());
        let parsed = match file.map(Path::to_owned).or(usual) {
            None => File::default(),
            Some(file) => toml::from_str(&read(&file)?)
                .map_err(|error| ConfigError(format!("{}: {}", file.display(), error.message())))?,
        };
        let theme = match theme.or(parsed.theme.as_deref()) {
            Some(word) => theme_named(word)?,
            None if set(environment, "NO_COLOR") || colourless(environment) => ThemeName::Mono,
            None => ThemeName::Default,
        };
        let glyphs = match glyphs.or(parsed.glyphs.as_deref()) {
            Some(word) => glyphs_named(word)?,
            None => fitting(environment),
        };
        let keymap = Keymap::with(&parsed.keys).map_err(|error| ConfigError(error.to_string()))?;
        let colours = super::colours::read(&parsed.colours)?;
        let local_time = match parsed.time.as_deref() {
            None | Some("utc") => false,
            Some("local") => true,
            Some(other) => {
                return Err(ConfigError(format!("time = \"{other}\": there are utc and local")));
            }
        };
        Ok(Self { theme, glyphs, colours, local_time, mouse: parsed.mouse, keymap })
    }
}

fn set(environment: &Environment, name: &str) -> bool {
    environment.get(name).is_some_and(|value| !value.is_empty())
}

fn theme_named(word: &str) -> Result<ThemeName, ConfigError> {
    ThemeName::ALL.into_iter().find(|theme| theme.word() == word).ok_or_else(|| {
        let words: Vec<_> = ThemeName::ALL.iter().map(|theme| theme.word()).collect();
        ConfigError(format!("there is no theme '{word}'; there are: {}", words.join(", ")))
    })
}

fn glyphs_named(word: &str) -> Result<GlyphSet, ConfigError> {
    GlyphSet::ALL.into_iter().find(|glyphs| glyphs.word() == word).ok_or_else(|| {
        let words: Vec<_> = GlyphSet::ALL.iter().map(|glyphs| glyphs.word()).collect();
        ConfigError(format!("there are no glyphs '{word}'; there are: {}", words.join(", ")))
    })
}

/// Terminals that never had colours.
fn colourless(environment: &Environment) -> bool {
    let term = environment.get("TERM").map_or("", String::as_str);
    term == "dumb" || term.starts_with("vt1") || term.starts_with("vt2") || term.ends_with("-m")
}

/// Lines and blocks where the locale can write them and the terminal has them.
fn fitting(environment: &Environment) -> GlyphSet {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| environment.get(name).filter(|value| !value.is_empty()))
        .map(|locale| locale.to_lowercase())
        .unwrap_or_default();
    let utf8 = locale.contains("utf-8") || locale.contains("utf8");
    let bare = environment.get("TERM").is_some_and(|term| term == "linux");
    if utf8 && !bare && !colourless(environment) { GlyphSet::Unicode } else { GlyphSet::Ascii }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Settings {
        let environment =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::load(None, None, None, &environment).unwrap()
    }

    #[test]
    fn the_environment_decides_where_nobody_else_does() {
        let plain = load(&[("LANG", "en_US.UTF-8"), ("TERM", "xterm-256color")]);
        assert_eq!((plain.theme, plain.glyphs), (ThemeName::Default, GlyphSet::Unicode));
        assert_eq!(load(&[("NO_COLOR", "1")]).theme, ThemeName::Mono);
        assert_eq!(load(&[("NO_COLOR", "")]).theme, ThemeName::Default);
        assert_eq!(load(&[("LANG", "C")]).glyphs, GlyphSet::Ascii);
        let old = load(&[("LANG", "C.UTF-8"), ("TERM", "vt220")]);
        assert_eq!((old.theme, old.glyphs), (ThemeName::Mono, GlyphSet::Ascii));
        assert_eq!(load(&[("LANG", "de_AT.UTF-8"), ("TERM", "linux")]).glyphs, GlyphSet::Ascii);
        assert_eq!(load(&[("LC_ALL", "C"), ("LANG", "de_AT.UTF-8")]).glyphs, GlyphSet::Ascii);
    }

    #[test]
    fn flags_win_and_mistakes_are_named() {
        let environment = Environment::from([("NO_COLOR".to_owned(), "1".to_owned())]);
        let settings =
            Settings::load(None, Some("cb-safe"), Some("braille"), &environment).unwrap();
        assert_eq!((settings.theme, settings.glyphs), (ThemeName::ColourBlind, GlyphSet::Braille));
        let ConfigError(text) = Settings::load(None, Some("pink"), None, &environment).unwrap_err();
        assert_eq!(text, "there is no theme 'pink'; there are: default, light, cb-safe, mono");
    }

    #[test]
    fn the_shipped_file_is_understood_and_says_the_defaults() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/relay-tui.toml");
        let settings = Settings::load(Some(&file), None, None, &Environment::new()).unwrap();
        assert_eq!(settings.theme, ThemeName::Default);
        assert!(settings.mouse);
    }

    #[test]
    fn clashing_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay-tui.toml");
        std::fs::write(&file, "[keys]\ncordon = 'q'\n").unwrap();
        let ConfigError(text) =
            Settings::load(Some(&file), None, None, &Environment::new()).unwrap_err();
        assert!(text.contains("would be both"), "{text}");
    }
}
