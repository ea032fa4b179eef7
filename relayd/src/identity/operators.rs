//! Operators of the admin plane and their tokens.

use crate::domain::{Code, Fault, FieldError, Role};
use crate::store::{Change, NewOperator, Operator, OperatorEdit, Trail};

use super::secret::{Secret, SecretKind};
use super::service::{Identity, no_randomness, now_ms};

/// Longest name of an operator, in bytes.
const NAME_MAX_BYTES: usize = 64;

/// An operator with a new token. The token is here and nowhere else.
#[derive(Debug)]
pub struct MadeOperator {
    /// The operator.
    pub operator: Operator,
    /// The token.
    pub token: Secret,
}

impl Identity {
    /// Who holds this token. Asks the store each time: operators are few, and a withdrawn token is
    /// refused at once.
    ///
    /// # Errors
    /// [`Code::InvalidToken`]; a store that cannot be asked is 503.
    pub async fn operator(&self, token: &str) -> Result<Operator, Fault> {
        let unknown = || Fault::new(Code::InvalidToken, "Invalid or withdrawn operator token");
        if !SecretKind::Operator.matches(token) {
            return Err(unknown());
        }
        let first = self.0.peppers.digest(token);
        for digest in std::iter::once(first).chain(self.0.peppers.older_digests(token)) {
            if let Some(operator) = self.0.store.operator_by_token(&digest.hmac).await? {
                return Ok(operator);
            }
        }
        Err(unknown())
    }

    /// Makes an operator with a token.
    ///
    /// # Errors
    /// A bad name, or one in use.
    pub async fn create_operator(
        &self,
        name: &str,
        role: Role,
        trail: Option<Trail>,
    ) -> Result<MadeOperator, Fault> {
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@' | b'+');
        if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.bytes().all(plain) {
            let text = "1 to 64 of letters, digits and - _ . @ +";
            return Err(Fault::validation(vec![FieldError::body("name", "value_error", text)]));
        }
        let token =
            Secret::generate(SecretKind::Operator).map_err(|error| no_randomness(&error))?;
        let new = NewOperator {
            name: name.to_owned(),
            role,
            token_hash: self.0.peppers.digest(token.expose()).hmac,
            created_ms: now_ms(),
        };
        self.0.store.write(vec![Change::NewOperator(new)], trail).await?;
        Ok(MadeOperator { operator: self.named(name).await?, token })
    }

    /// Changes an operator's role.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::VersionConflict`].
    pub async fn set_operator_role(
        &self,
        name: &str,
        role: Role,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<Operator, Fault> {
        self.edit_operator(name, OperatorEdit::Role(role), expected, trail).await
    }

    /// Gives an operator a new token; the one before is refused from now on.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::VersionConflict`].
    pub async fn renew_operator_token(
        &self,
        name: &str,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<MadeOperator, Fault> {
        let token =
            Secret::generate(SecretKind::Operator).map_err(|error| no_randomness(&error))?;
        let edit = OperatorEdit::Token(self.0.peppers.digest(token.expose()).hmac);
        let operator = self.edit_operator(name, edit, expected, trail).await?;
        Ok(MadeOperator { operator, token })
    }

    /// Withdraws an operator's token.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::VersionConflict`].
    pub async fn revoke_operator(
        &self,
        name: &str,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<Operator, Fault> {
        let edit = OperatorEdit::Revoke { at_ms: now_ms() };
        self.edit_operator(name, edit, expected, trail).await
    }

    async fn edit_operator(
        &self,
        name: &str,
        edit: OperatorEdit,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<Operator, Fault> {
        let change = Change::EditOperator { name: name.to_owned(), expected, edit };
        self.0.store.write(vec![change], trail).await?;
        self.named(name).await
    }

    async fn named(&self, name: &str) -> Result<Operator, Fault> {
        let all = self.0.store.operators().await?;
        all.into_iter()
            .find(|operator| operator.name == name)
            .ok_or_else(|| Fault::new(Code::NotFound, "no such operator"))
    }
}
