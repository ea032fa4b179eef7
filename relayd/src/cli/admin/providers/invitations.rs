//! Invitations: made, listed, withdrawn.

use std::path::PathBuf;

use relay_proto::admin::v1 as proto;

use super::super::args::ChangeArgs;
use super::super::format::Column::Left;
use super::super::format::{Table, plain, time};
use super::super::link::Link;
use super::super::show::Show;
use super::super::{Problem, change};
use super::Client;
use crate::cli::private;

const INVITATIONS: Table = Table::new(&[
    Left("INVITATION"),
    Left("USES LEFT"),
    Left("EXPIRES"),
    Left("STATE"),
    Left("BY"),
    Left("NOTE"),
]);

/// What an agent's `--join-file` takes.
#[derive(serde::Serialize)]
struct JoinFile<'a> {
    fleet_addr: &'a str,
    fleet_ca: &'a str,
    join_token: &'a str,
}

/// Prints them, newest first.
pub(super) async fn list(
    link: &Link,
    client: &Client,
    limit: Option<usize>,
    show: &mut Show,
) -> Result<(), Problem> {
    let fetch = async |page| {
        let request = proto::ListInvitationsRequest { page: Some(page) };
        let answer = client.clone().list_invitations(request).await?.into_inner();
        Ok((answer.invitations, answer.next_page_token))
    };
    show.list(link, "invitations", limit, fetch, &INVITATIONS, cells).await
}

/// What an invitation shall be.
pub(super) struct Invite {
    /// What it is for.
    pub(super) note: String,
    /// How many may join by it; 0 is any number.
    pub(super) uses: u32,
    /// How long it stands; 0 is for good.
    pub(super) expires_in_ms: i64,
    /// Where its join file goes.
    pub(super) out: Option<PathBuf>,
}

pub(super) async fn invite(
    link: &Link,
    client: &Client,
    asked: Invite,
    args: &ChangeArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let Invite { note, uses, expires_in_ms, out } = asked;
    let made = change::create(link, args, async |change| {
        let change = Some(change);
        let request = proto::CreateInvitationRequest { change, note, uses, expires_in_ms };
        client.clone().create_invitation(request).await
    })
    .await?;
    if let Some(file) = &out {
        if made.join_token.is_empty() {
            return Err(Problem::new(
                "this invitation was made before and its token was shown once",
            ));
        }
        let join = JoinFile {
            fleet_addr: &made.fleet_addr,
            fleet_ca: &made.fleet_ca,
            join_token: &made.join_token,
        };
        let json = serde_json::to_vec_pretty(&join).unwrap_or_default();
        private::write(file, &json)
            .map_err(|error| Problem::new(format!("cannot write {}: {error}", file.display())))?;
    }
    show.one(&made, |made| {
        let id = made.invitation.as_ref().map_or("", |row| row.invitation_id.as_str());
        match &out {
            Some(file) => format!(
                "{} written to {file}; the provider runs: relayd agent init --join-file {file} ...",
                plain(id),
                file = file.display()
            ),
            None if made.join_token.is_empty() => {
                format!("{} exists already; its token was shown once", plain(id))
            }
            None => format!(
                "{}\nThis token of {} is not shown again. Agents dial {}.",
                made.join_token,
                plain(id),
                plain(&made.fleet_addr)
            ),
        }
    })
}

pub(super) async fn withdraw(
    link: &Link,
    client: &Client,
    invitation: &str,
    args: ChangeArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let read = async || {
        let page = Some(proto::Page { page_size: 1_000, page_token: String::new() });
        let request = proto::ListInvitationsRequest { page };
        let all = client.clone().list_invitations(request).await?.into_inner().invitations;
        let found = all.into_iter().find(|row| row.invitation_id == invitation);
        let missing =
            || tonic::Status::not_found(format!("there is no invitation '{}'", plain(invitation)));
        found.map(|row| row.version).ok_or_else(missing)
    };
    let withdrawn = change::update(link, &args, read, async |change| {
        let request = proto::WithdrawInvitationRequest {
            change: Some(change),
            invitation_id: invitation.to_owned(),
        };
        client.clone().withdraw_invitation(request).await
    })
    .await?;
    show.one(&withdrawn, |row| format!("withdrawn {}", plain(&row.invitation_id)))
}

fn cells(row: &proto::Invitation) -> Vec<String> {
    let uses = if row.unlimited { "any".to_owned() } else { row.uses_left.to_string() };
    let state = match (row.withdrawn_at_ms, row.unlimited || row.uses_left > 0) {
        (0, true) => "stands",
        (0, false) => "spent",
        _ => "withdrawn",
    };
    vec![
        row.invitation_id.clone(),
        uses,
        if row.expires_at_ms == 0 { "never".to_owned() } else { time(row.expires_at_ms) },
        state.to_owned(),
        row.created_by.clone(),
        row.note.clone(),
    ]
}
