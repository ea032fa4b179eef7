//! `apply` and `export`.

use std::path::{Path, PathBuf};

use clap::Args;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::catalogue_service_client::CatalogueServiceClient;

use super::Problem;
use super::args::ChangeArgs;
use super::change;
use super::format::plain;
use super::link::{Link, MESSAGE_MAX_BYTES};
use super::show::Show;

/// Room for names and framing beside the documents' text.
const DOCUMENTS_MAX_BYTES: usize = MESSAGE_MAX_BYTES - 64 * 1024;

/// Make the database say what files say.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// TOML files, or folders whose .toml files are taken in the order of their names.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long, alias = "dry-run")]
    diff: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn apply(link: &Link, args: &ApplyArgs, show: &mut Show) -> Result<(), Problem> {
    let documents = read(&args.files)?;
    let client = CatalogueServiceClient::new(link.wire());
    let send = async |change| {
        let request = proto::ApplyRequest { change: Some(change), documents, dry_run: args.diff };
        client.clone().apply(request).await
    };
    let answer = if args.diff {
        let answer = send(proto::Change::default()).await;
        answer.map_err(|status| link.problem(&status))?.into_inner()
    } else {
        change::create(link, &args.change, send).await?
    };
    show.one(&answer, differences)
}

pub(super) async fn export(link: &Link, show: &mut Show) -> Result<(), Problem> {
    let answer = CatalogueServiceClient::new(link.wire()).export(proto::ExportRequest {}).await;
    let answer = answer.map_err(|status| link.problem(&status))?.into_inner();
    show.one(&answer, |answer| answer.toml.trim_end().to_owned())
}

fn read(paths: &[PathBuf]) -> Result<Vec<proto::Document>, Problem> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(folder(path)?);
        } else {
            files.push(path.clone());
        }
    }
    let mut documents = Vec::with_capacity(files.len());
    let mut bytes = 0;
    for file in files {
        let toml = std::fs::read_to_string(&file)
            .map_err(|error| Problem::new(format!("{}: {error}", file.display())))?;
        bytes += toml.len();
        documents.push(proto::Document { name: file.display().to_string(), toml });
    }
    if bytes > DOCUMENTS_MAX_BYTES {
        return Err(Problem::new(format!(
            "{bytes} bytes are too many for one apply (at most {DOCUMENTS_MAX_BYTES}): apply the \
             files one after another"
        )));
    }
    Ok(documents)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let failed = |error| Problem::new(format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_file() && file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Problem::new(format!("{} holds no .toml file", path.display())));
    }
    files.sort();
    Ok(files)
}

fn differences(answer: &proto::ApplyResponse) -> String {
    let mut text = String::new();
    for difference in &answer.differences {
        let kind = proto::difference::Kind::try_from(difference.kind).unwrap_or_default().word();
        text.push_str(&format!("{kind:<6} {} {}\n", difference.noun, plain(&difference.name)));
        for field in &difference.fields {
            text.push_str(&format!("         {}\n", plain(field)));
        }
    }
    text.push_str(match (answer.differences.is_empty(), answer.applied) {
        (true, _) => "nothing to change",
        (false, true) => "applied",
        (false, false) => "not applied: this was only the difference",
    });
    text
}
