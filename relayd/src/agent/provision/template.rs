//! Templates: what the owner of this host lets relayd start, and within which bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::config::word;
use crate::domain::INSTANCES_MAX;
use crate::engines::{Dialect, EngineKind};
use crate::launch::ChildSpec;

/// Most templates of one host.
pub(in crate::agent) const TEMPLATES_MAX: usize = 16;

/// Longest name of a template, in bytes: with a hyphen and a port it still is an engine's name.
const NAME_MAX_BYTES: usize = 8;

/// Most arguments, variables, models and parameters of a template.
const LIST_MAX: usize = 128;

/// Longest text of a template, in bytes.
const TEXT_MAX_BYTES: usize = 4096;

/// Longest name of a parameter, in bytes.
const PARAMETER_MAX_BYTES: usize = 32;

/// Placeholders that every template knows.
const MODEL: &str = "model";
const REFERENCE: &str = "reference";
const PORT: &str = "port";

/// How one kind of engine is started here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What relayd asks for: 1 to 8 of `a-z 0-9 -`.
    pub name: String,
    /// What it starts: llamacpp, vllm, ollama or unknown.
    #[serde(with = "word")]
    pub kind: EngineKind,
    /// What that speaks: openai, anthropic or ollama.
    #[serde(with = "word")]
    pub dialect: Dialect,
    /// The program; looked up in `PATH` when it holds no slash.
    pub command: PathBuf,
    /// Its arguments. One that is `{model}` (the model's name), `{reference}` (what stands for it
    /// below), `{port}` or `{PARAMETER}` and nothing else is replaced as a whole; no shell reads
    /// any of it.
    #[serde(default)]
    pub args: Vec<String>,
    /// The first and the last port that an instance may listen on, on loopback.
    pub ports: [u16; 2],
    /// Instances at once, over all deployments, 1 to 32.
    pub max_instances: u16,
    /// Requests at once of one instance.
    pub max_concurrency: u16,
    /// Whether the engine is told to fetch `{reference}` itself before it serves: Ollama only.
    #[serde(default)]
    pub pull: bool,
    /// Variables beside those that the agent has, but for its own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The models that may be asked for, and what each is here: a file, a repository, a tag.
    pub models: BTreeMap<String, String>,
    /// What else may be asked for.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
}

/// A parameter and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Parameter {
    /// A whole number.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
        /// Without a wish.
        default: i64,
    },
    /// One of some words of the owner's.
    Choice {
        /// The words.
        values: Vec<String>,
        /// Without a wish.
        default: String,
    },
}

/// What is asked for, once it was found to be within a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) struct Plan {
    /// The model's name.
    pub(in crate::agent) model: String,
    /// What it is on this host.
    pub(in crate::agent) reference: String,
    /// Every parameter's value, defaults among them.
    values: BTreeMap<String, String>,
}

impl Template {
    /// Checks every value.
    ///
    /// # Errors
    /// The key and a sentence.
    pub(in crate::agent) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, message: &str| {
            Err((format!("template '{}': {key}", self.name), message.to_owned()))
        };
        let plain = |text: &str, most: usize| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !text.is_empty() && text.len() <= most && text.bytes().all(fits)
        };
        if !plain(&self.name, NAME_MAX_BYTES) {
            return wrong("name", "1 to 8 of a-z, 0-9 and hyphen");
        }
        if self.command.as_os_str().is_empty() {
            return wrong("command", "is empty");
        }
        if [self.args.len(), self.env.len(), self.models.len(), self.parameters.len()]
            .into_iter()
            .any(|len| len > LIST_MAX)
        {
            return wrong("args, env, models, parameters", "at most 128 each");
        }
        let texts = self.args.iter().chain(self.env.values()).chain(self.models.values());
        if texts
            .chain(self.models.keys())
            .any(|text| text.len() > TEXT_MAX_BYTES || text.chars().any(char::is_control))
        {
            return wrong("args, env, models", "at most 4096 bytes each, on one line");
        }
        let [first, last] = self.ports;
        let room = last.checked_sub(first).map(|more| u32::from(more) + 1);
        if first == 0 || room.is_none() {
            return wrong("ports", "write them as [first, last]");
        }
        if !(1..=INSTANCES_MAX).contains(&self.max_instances)
            || room.is_some_and(|room| u32::from(self.max_instances) > room)
        {
            let bounds = format!("1 to {INSTANCES_MAX}, and no more than there are ports");
            return wrong("max_instances", &bounds);
        }
        if self.max_concurrency == 0 {
            return wrong("max_concurrency", "at least 1");
        }
        if self.models.is_empty() {
            return wrong("models", "at least one");
        }
        if self.pull && self.kind != EngineKind::Ollama {
            return wrong("pull", "only Ollama fetches models by itself");
        }
        for (name, parameter) in &self.parameters {
            if !plain(name, PARAMETER_MAX_BYTES)
                || [MODEL, REFERENCE, PORT].contains(&name.as_str())
            {
                return wrong("parameters", "names of 1 to 32 of a-z, 0-9 and hyphen, no others");
            }
            let sound = match parameter {
                Parameter::Integer { min, max, default } => min <= default && default <= max,
                Parameter::Choice { values, default } => values.contains(default),
            };
            if !sound {
                return wrong(&format!("parameters.{name}"), "its default is out of its bounds");
            }
        }
        let known: BTreeSet<&str> = self.parameters.keys().map(String::as_str).collect();
        for arg in &self.args {
            let is_known =
                |name: &str| [MODEL, REFERENCE, PORT].contains(&name) || known.contains(name);
            match placeholder(arg) {
                Some(name) if !is_known(name) => {
                    return wrong("args", &format!("'{arg}' stands for nothing that is known"));
                }
                Some(_) => {}
                None if known
                    .iter()
                    .chain(&[MODEL, REFERENCE, PORT])
                    .any(|name| arg.contains(&format!("{{{name}}}"))) =>
                {
                    let message = format!("'{arg}': a placeholder is a whole argument");
                    return wrong("args", &message);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// What is asked for, if this template allows it.
    ///
    /// # Errors
    /// A sentence for relayd's operator.
    pub(in crate::agent) fn plan(
        &self,
        model: &str,
        asked: &BTreeMap<String, String>,
    ) -> Result<Plan, String> {
        let Some((model, reference)) = self.models.get_key_value(model) else {
            return Err(format!("template {} has no such model", self.name));
        };
        if asked.keys().any(|name| !self.parameters.contains_key(name)) {
            return Err(format!("template {} has no such parameter", self.name));
        }
        let mut values = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            let value = match asked.get(name) {
                Some(asked) => parameter.take(asked).map_err(|must| format!("{name}: {must}"))?,
                None => parameter.default(),
            };
            values.insert(name.clone(), value);
        }
        Ok(Plan { model: model.clone(), reference: reference.clone(), values })
    }

    /// What one instance is called, as an engine of this host.
    pub(in crate::agent) fn engine(&self, port: u16) -> String {
        format!("{}-{port}", self.name)
    }

    /// The process of one instance.
    pub(in crate::agent) fn child(&self, plan: &Plan, port: u16) -> ChildSpec {
        let word = |arg: &String| -> OsString {
            match placeholder(arg) {
                Some(MODEL) => plan.model.clone().into(),
                Some(REFERENCE) => plan.reference.clone().into(),
                Some(PORT) => port.to_string().into(),
                Some(name) => plan.values.get(name).unwrap_or(arg).into(),
                None => arg.into(),
            }
        };
        ChildSpec {
            name: self.engine(port),
            program: self.command.clone(),
            args: self.args.iter().map(word).collect(),
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: None,
            // Whether it serves is asked over HTTP.
            ready_line: None,
        }
    }
}

impl Parameter {
    /// The value, in the owner's spelling.
    fn take(&self, asked: &str) -> Result<String, String> {
        match self {
            Self::Integer { min, max, .. } => asked
                .parse::<i64>()
                .ok()
                .filter(|value| (min..=max).contains(&value))
                .map(|value| value.to_string())
                .ok_or_else(|| format!("a whole number from {min} to {max}")),
            Self::Choice { values, .. } => values
                .iter()
                .find(|value| *value == asked)
                .cloned()
                .ok_or_else(|| format!("one of {}", values.join(", "))),
        }
    }

    fn default(&self) -> String {
        match self {
            Self::Integer { default, .. } => default.to_string(),
            Self::Choice { default, .. } => default.clone(),
        }
    }
}

/// The name in an argument that is a placeholder as a whole.
fn placeholder(arg: &str) -> Option<&str> {
    let name = arg.strip_prefix('{')?.strip_suffix('}')?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}

#[cfg(test)]
pub(in crate::agent) mod tests {
    use super::*;

    /// A template that starts `command` with its port and a number.
    pub(in crate::agent) fn template(command: &str, args: &[&str]) -> Template {
        let slots = Parameter::Integer { min: 1, max: 8, default: 4 };
        let cache = Parameter::Choice {
            values: vec!["f16".to_owned(), "q8".to_owned()],
            default: "f16".to_owned(),
        };
        Template {
            name: "llama".to_owned(),
            kind: EngineKind::Llamacpp,
            dialect: Dialect::Openai,
            command: command.into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            ports: [9_001, 9_004],
            max_instances: 2,
            max_concurrency: 4,
            pull: false,
            env: BTreeMap::new(),
            models: BTreeMap::from([("tiny".to_owned(), "/models/tiny one.gguf".to_owned())]),
            parameters: BTreeMap::from([("slots".to_owned(), slots), ("cache".to_owned(), cache)]),
        }
    }

    type Spoil = fn(&mut Template);

    fn asked(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn whole_arguments_are_replaced_and_nothing_else() {
        let args =
            ["--file", "{reference}", "{model}", "-p", "{port}", "{slots}", "{cache}", "{x:1}"];
        let template = template("server", &args);
        template.check().unwrap();
        let plan = template.plan("tiny", &asked(&[("slots", "+2")])).unwrap();
        let child = template.child(&plan, 9_002);
        let expected =
            ["--file", "/models/tiny one.gguf", "tiny", "-p", "9002", "2", "f16", "{x:1}"];
        assert_eq!(child.args, expected.map(OsString::from));
        assert_eq!((child.name.as_str(), child.program), ("llama-9002", "server".into()));
    }

    #[test]
    fn the_readmes_template_is_one() {
        #[derive(Deserialize)]
        struct File {
            template: Vec<Template>,
        }
        let readme = include_str!("../../../../README.md");
        let from = readme.find("[[template]]").unwrap();
        let block = readme[from..].split("```").next().unwrap();
        let file: File = toml::from_str(block).unwrap();
        let [template] = &file.template[..] else { panic!("one is shown") };
        template.check().unwrap();
        let plan = template.plan("tiny", &BTreeMap::new()).unwrap();
        let args = template.child(&plan, 9_001).args;
        let expected = ["--model", "/models/tiny.gguf", "--alias", "tiny", "--port", "9001"];
        assert_eq!(args[..6], expected.map(OsString::from));
        assert_eq!(args[6..], ["--parallel", "4"].map(OsString::from));
    }

    #[test]
    fn a_hostile_relayd_gets_no_further_than_the_template() {
        let template = template("server", &["{model}", "{slots}"]);
        for model in [
            "",
            "other",
            "../../etc/passwd",
            "tiny/../tiny",
            "TINY",
            "tiny ",
            "/models/tiny one.gguf",
            "{port}",
        ] {
            assert!(template.plan(model, &BTreeMap::new()).is_err(), "{model}");
        }
        for (name, value) in [
            ("slots", "0"),
            ("slots", "9"),
            ("slots", "-1"),
            ("slots", "4; rm -rf /"),
            ("slots", "4 "),
            ("slots", "0x4"),
            ("slots", "99999999999999999999"),
            ("slots", ""),
            ("cache", "q4"),
            ("cache", "f16 --host 0.0.0.0"),
            ("host", "0.0.0.0"),
            ("port", "22"),
            ("model", "tiny"),
            ("reference", "/etc/passwd"),
        ] {
            assert!(template.plan("tiny", &asked(&[(name, value)])).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_template_that_makes_no_sense_is_refused() {
        let good = || template("server", &["{port}"]);
        good().check().unwrap();
        let bad: [(&str, Spoil); 14] = [
            ("name", |t| t.name = "too-long-".to_owned()),
            ("name", |t| t.name = "a/b".to_owned()),
            ("command", |t| t.command = PathBuf::new()),
            ("args", |t| t.args = vec!["--port={port}".to_owned()]),
            ("args", |t| t.args = vec!["{unknown}".to_owned()]),
            ("args", |t| t.args = vec!["a\nb".to_owned()]),
            ("ports", |t| t.ports = [9_002, 9_001]),
            ("ports", |t| t.ports = [0, 9_001]),
            ("max_instances", |t| t.max_instances = 5),
            ("max_instances", |t| t.max_instances = 0),
            ("max_concurrency", |t| t.max_concurrency = 0),
            ("models", |t| t.models.clear()),
            ("pull", |t| t.pull = true),
            ("parameters", |t| {
                let parameter = Parameter::Integer { min: 1, max: 2, default: 3 };
                t.parameters.insert("slots".to_owned(), parameter);
            }),
        ];
        for (at, (key, spoil)) in bad.into_iter().enumerate() {
            let mut template = good();
            spoil(&mut template);
            let (named, _) = template.check().unwrap_err();
            assert!(named.contains(key), "{at}: {named}");
        }
    }
}
