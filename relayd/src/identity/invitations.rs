//! Invitations: what lets a new provider's key in.

use crate::domain::{Code, Fault, FieldError};
use crate::store::{Change, InvitationRow, NewInvitation, StoreError, Trail};

use super::secret::{Secret, SecretKind};
use super::service::{Identity, no_randomness, now_ms};

/// Longest note, in characters.
const NOTE_MAX_CHARS: usize = 200;

/// Most providers that one invitation may let in.
pub const INVITATION_USES_MAX: u32 = 10_000;

/// Longest life of an invitation, in milliseconds: a year.
pub const INVITATION_LIFE_MAX_MS: i64 = 366 * 24 * 3_600 * 1_000;

/// What an invitation shall be.
#[derive(Clone, Debug)]
pub struct InvitationRequest {
    /// Its id, `inv_` and 16 hex digits.
    pub id: String,
    /// What it is for.
    pub note: String,
    /// How many may use it, 1 to [`INVITATION_USES_MAX`]; none is any number.
    pub uses: Option<u32>,
    /// For how long, in milliseconds, up to [`INVITATION_LIFE_MAX_MS`]; none is for good.
    pub life_ms: Option<i64>,
    /// Who makes it.
    pub actor: String,
}

/// An invitation with its token. The token is here and nowhere else.
#[derive(Debug)]
pub struct MadeInvitation {
    /// The invitation.
    pub invitation: InvitationRow,
    /// The token.
    pub token: Secret,
}

impl Identity {
    /// Makes an invitation.
    ///
    /// # Errors
    /// A value out of its bounds; a store that cannot be reached.
    pub async fn invite(
        &self,
        request: InvitationRequest,
        trail: Option<Trail>,
    ) -> Result<MadeInvitation, Fault> {
        let token =
            Secret::generate(SecretKind::Invitation).map_err(|error| no_randomness(&error))?;
        let invitation = self.invite_with(request, token.expose(), trail).await?;
        Ok(MadeInvitation { invitation, token })
    }

    /// Makes an invitation with a token that was made elsewhere, unless it is known.
    ///
    /// # Errors
    /// As [`Self::invite`].
    pub async fn ensure_invitation(
        &self,
        request: InvitationRequest,
        token: &str,
    ) -> Result<(), Fault> {
        for hash in self.invitation_hashes(token) {
            if self.0.store.knows_invitation(&hash).await? {
                return Ok(());
            }
        }
        self.invite_with(request, token, None).await.map(|_| ())
    }

    /// What is stored of an invitation's token, under every pepper in use, newest first. Empty for
    /// a text that is no such token.
    #[must_use]
    pub fn invitation_hashes(&self, token: &str) -> Vec<[u8; 32]> {
        if !SecretKind::Invitation.matches(token) {
            return Vec::new();
        }
        let first = self.0.peppers.digest(token);
        std::iter::once(first)
            .chain(self.0.peppers.older_digests(token))
            .map(|digest| digest.hmac)
            .collect()
    }

    /// Withdraws an invitation; who joined by it stays.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::VersionConflict`].
    pub async fn withdraw_invitation(
        &self,
        id: &str,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<InvitationRow, Fault> {
        let change = Change::WithdrawInvitation { id: id.to_owned(), expected, at_ms: now_ms() };
        self.0.store.write(vec![change], trail).await?;
        self.invitation(id).await
    }

    /// One invitation.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn invitation(&self, id: &str) -> Result<InvitationRow, Fault> {
        let all = self.0.store.invitations().await?;
        all.into_iter()
            .find(|invitation| invitation.id == id)
            .ok_or_else(|| StoreError::NotFound("invitation").into())
    }

    async fn invite_with(
        &self,
        request: InvitationRequest,
        token: &str,
        trail: Option<Trail>,
    ) -> Result<InvitationRow, Fault> {
        let wrong = |field: &'static str, text: String| {
            Err(Fault::validation(vec![FieldError::body(field, "value_error", text)]))
        };
        if request.note.chars().count() > NOTE_MAX_CHARS {
            return wrong("note", format!("at most {NOTE_MAX_CHARS} characters"));
        }
        if request.uses.is_some_and(|uses| uses == 0 || uses > INVITATION_USES_MAX) {
            return wrong("uses", format!("1 to {INVITATION_USES_MAX}"));
        }
        if request.life_ms.is_some_and(|life| life <= 0 || life > INVITATION_LIFE_MAX_MS) {
            return wrong("expires_in_ms", format!("1 to {INVITATION_LIFE_MAX_MS}"));
        }
        let Some(token_hash) = self.invitation_hashes(token).into_iter().next() else {
            return Err(Fault::new(Code::InvalidToken, "this is no invitation's token"));
        };
        let now = now_ms();
        let new = NewInvitation {
            id: request.id.clone(),
            token_hash,
            note: request.note,
            uses: request.uses,
            expires_ms: request.life_ms.map(|life| now.saturating_add(life)),
            created_by: request.actor,
            created_ms: now,
        };
        self.0.store.write(vec![Change::NewInvitation(new)], trail).await?;
        self.invitation(&request.id).await
    }
}
