//! Compiles the protocol files without a system protoc, and gives every message a JSON form whose
//! field names are those of the protocol and whose enum values are plain lower-case words.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

const ADMIN: &str = "proto/relay/admin/v1";
const FLEET: &str = "proto/relay/fleet/v1";

fn main() -> Result<(), Box<dyn Error>> {
    // What reflection serves: what agents are asked is none of the admin plane's.
    let admin = protox::compile(files(ADMIN)?, [Path::new("proto")])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), admin.encode_to_vec())?;
    let all: Vec<_> = files(ADMIN)?.into_iter().chain(files(FLEET)?).collect();
    let descriptors = protox::compile(&all, [Path::new("proto")])?;

    let mut config = tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .type_attribute(".", "#[serde(rename_all = \"snake_case\")]")
        .message_attribute(".", "#[serde(default)]");
    for file in &descriptors.file {
        for message in &file.message_type {
            let path = format!(".{}.{}", file.package(), message.name());
            for field in &message.field {
                if field.r#type() == prost_types::field_descriptor_proto::Type::Enum {
                    let function = if field.proto3_optional() { "optional_word" } else { "word" };
                    let name = type_path(&file.package, field.type_name());
                    config = config.field_attribute(
                        format!("{path}.{}", field.name()),
                        format!(
                            "#[serde(serialize_with = \"crate::json::{function}::<{name}, _>\", \
                             deserialize_with = \"crate::json::read_{function}::<{name}, _>\")]"
                        ),
                    );
                }
            }
        }
    }
    config.compile_fds(descriptors)?;
    Ok(())
}

/// The protocol files of a package, and a word to cargo that they matter.
fn files(package: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    println!("cargo:rerun-if-changed={package}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(package)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The Rust path of an enum, seen from the module of its own package: the outer message of a
/// nested enum is a module in snake case.
fn type_path(package: &Option<String>, proto: &str) -> String {
    let inner = proto.trim_start_matches('.');
    let inner = package
        .as_deref()
        .and_then(|package| inner.strip_prefix(package))
        .unwrap_or(inner)
        .trim_start_matches('.');
    match inner.rsplit_once('.') {
        Some((outer, name)) => format!("{}::{name}", outer.to_lowercase()),
        None => inner.to_owned(),
    }
}
