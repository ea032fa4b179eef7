//! `/v2/customer/keys...` (contract section 1.5).

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::domain::{Code, Fault, FieldError, KeyId, RateLimits, Scope};
use crate::identity::{KeyPatch, KeyRequest};
use crate::store::{ApiKey, KeyFilter, PAGE_MAX, Page, Restrictions};

use super::access::Owner;
use super::error::Refused;
use super::input::{self, Segment, nullable, unknown_cursor};
use super::money::Usd;
use super::respond::{print, time};
use super::routes::Account;

/// Keys on a page that does not say how many it wants.
const LIST_DEFAULT: u32 = 100;

/// What goes with a secret that is shown once.
const WARNING: &str = "Store this key now: it is not shown again.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<u32>,
    status: Option<Status>,
    name: Option<String>,
    name_prefix: Option<String>,
    is_superkey: Option<bool>,
    starting_after: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Active,
    Revoked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    name: String,
    restrictions: Option<RestrictionsBody>,
    key_budget: Option<Usd>,
    /// Accepted and without effect: there are no instances.
    #[serde(default, rename = "instances_allowed")]
    _instances_allowed: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchBody {
    name: Option<String>,
    restrictions: Option<RestrictionsBody>,
    #[serde(default, deserialize_with = "nullable")]
    key_budget: Option<Option<Usd>>,
    #[serde(default, rename = "instances_allowed")]
    _instances_allowed: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopUpBody {
    amount: Usd,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestrictionsBody {
    model_restrictions: Option<Vec<String>>,
    rate_limits: Option<RateLimitsBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimitsBody {
    direct: Option<u32>,
    opengpu: Option<u32>,
    global: Option<u32>,
}

#[derive(Serialize)]
struct KeyList {
    total: u64,
    max_allowed: u32,
    limit: u32,
    has_more: bool,
    next_cursor: Option<String>,
    keys: Vec<KeyRow>,
}

/// What every listing tells of a key.
#[derive(Serialize)]
pub(super) struct KeyFacts {
    key: String,
    key_id: KeyId,
    name: String,
    status: Status,
    created_at: String,
    last_used_at: Option<String>,
    key_budget: Option<Usd>,
    instances_allowed: bool,
    is_superkey: bool,
    system: bool,
}

#[derive(Serialize)]
struct KeyRow {
    #[serde(flatten)]
    facts: KeyFacts,
    restrictions: RestrictionsRow,
}

#[derive(Serialize)]
struct RestrictionsRow {
    model_restrictions: Vec<Scope>,
    rate_limits: RateLimits,
}

#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    key_id: KeyId,
    name: String,
    status: Status,
    created_at: String,
    restrictions: RestrictionsRow,
    key_budget: Option<Usd>,
    is_superkey: bool,
    instances_allowed: bool,
    warning: &'static str,
}

#[derive(Serialize)]
struct Patched {
    status: &'static str,
    key: String,
    key_id: KeyId,
    updated_fields: Vec<&'static str>,
    new_restrictions: RestrictionsRow,
    new_key_budget: Option<Usd>,
}

#[derive(Serialize)]
struct Turned {
    status: &'static str,
    key: String,
    key_id: KeyId,
    message: &'static str,
}

#[derive(Serialize)]
struct ToppedUp {
    status: &'static str,
    key: String,
    key_id: KeyId,
    previous_budget: Option<Usd>,
    new_budget: Usd,
    amount_added: Usd,
}

/// `GET /v2/customer/keys`
pub(super) async fn list(
    State(face): State<Account>,
    owner: Owner,
    uri: Uri,
) -> Result<Response, Refused> {
    let query: ListQuery = input::query(&uri)?;
    let limit = query.limit.unwrap_or(LIST_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let error = FieldError::query("limit", "value_error", "Expected 1 to 1000");
        return Err(Fault::validation(vec![error]).into());
    }
    if query.name.is_some() && query.name_prefix.is_some() {
        let text = "name and name_prefix exclude each other";
        return Err(Fault::new(Code::Unservable, text).into());
    }
    let filter = KeyFilter {
        customer: Some(owner.customer().clone()),
        revoked: query.status.map(|status| status == Status::Revoked),
        superkey: query.is_superkey,
        name: query.name,
        name_prefix: query.name_prefix,
        query: None,
        system: true,
    };
    let page = Page::new(query.starting_after.as_deref(), limit);
    let (paged, total) = match face.identity.keys(&filter, &page).await {
        Err(fault) if fault.code == Code::NotFound => return Err(unknown_cursor().into()),
        found => found?,
    };
    print(&KeyList {
        total,
        max_allowed: face.identity.max_keys(&owner.key.tier)?,
        limit,
        has_more: paged.next.is_some(),
        next_cursor: paged.next,
        keys: paged.rows.into_iter().map(row).collect(),
    })
}

/// `POST /v2/customer/keys`
pub(super) async fn create(
    State(face): State<Account>,
    owner: Owner,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let body: CreateBody = input::json(&face.small_bodies, &headers, request.into_body()).await?;
    if body.key_budget.is_some() {
        face.needs_custom(&owner, "A key budget")?;
    }
    let restrictions = match body.restrictions {
        Some(restrictions) => restrictions.read()?,
        None => Restrictions::default(),
    };
    let asked = KeyRequest {
        id: None,
        customer: owner.customer().clone(),
        name: body.name,
        denied_scopes: restrictions.denied_scopes,
        limits: restrictions.limits,
        budget: body.key_budget.map(|budget| budget.0),
        actor: owner.key.key_id.to_string(),
    };
    let made = face.identity.create_key(asked, None).await?;
    let answer = Created {
        key: made.secret.expose(),
        key_id: made.key.id,
        name: made.key.name,
        status: Status::Active,
        created_at: time(made.key.created_ms),
        restrictions: restrictions_row(made.key.restrictions),
        key_budget: made.key.budget.map(Usd),
        is_superkey: made.key.superkey,
        instances_allowed: false,
        warning: WARNING,
    };
    Ok((StatusCode::CREATED, print(&answer)?).into_response())
}

/// `PATCH /v2/customer/keys/{key_id}`
pub(super) async fn patch(
    State(face): State<Account>,
    owner: Owner,
    headers: HeaderMap,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Refused> {
    let body: PatchBody = input::json(&face.small_bodies, &headers, request.into_body()).await?;
    let key = face.identity.key_of(owner.customer(), &id).await?;
    if body.key_budget.is_some() {
        face.needs_custom(&owner, "A key budget")?;
    }
    let mut updated_fields = Vec::new();
    let mut note = |given: bool, field| {
        if given {
            updated_fields.push(field);
        }
    };
    note(body.name.is_some(), "name");
    note(body.restrictions.is_some(), "restrictions");
    note(body.key_budget.is_some(), "key_budget");
    let patch = KeyPatch {
        name: body.name,
        restrictions: body.restrictions.map(RestrictionsBody::read).transpose()?,
        budget: body.key_budget.map(|budget| budget.map(|budget| budget.0)),
    };
    let key = face.identity.patch_key(&key, patch, owner.asked()).await?;
    print(&Patched {
        status: "success",
        key: masked(&key),
        key_id: key.id,
        updated_fields,
        new_restrictions: restrictions_row(key.restrictions),
        new_key_budget: key.budget.map(Usd),
    })
}

/// `POST /v2/customer/keys/{key_id}/revoke`
pub(super) async fn revoke(
    State(face): State<Account>,
    owner: Owner,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    let key = face.identity.key_of(owner.customer(), &id).await?;
    let key = face.identity.revoke_key(&key, owner.asked()).await?;
    print(&turned(key, "revoked", "The key is refused from now on. It can be unrevoked."))
}

/// `POST /v2/customer/keys/{key_id}/unrevoke`
pub(super) async fn unrevoke(
    State(face): State<Account>,
    owner: Owner,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    let key = face.identity.key_of(owner.customer(), &id).await?;
    let key = face.identity.unrevoke_key(&key, owner.asked()).await?;
    print(&turned(key, "active", "The key works again."))
}

/// `DELETE /v2/customer/keys/{key_id}`
pub(super) async fn delete(
    State(face): State<Account>,
    owner: Owner,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    let key = face.identity.key_of(owner.customer(), &id).await?;
    face.identity.delete_key(&key, owner.asked()).await?;
    print(&turned(key, "deleted", "The key is gone for good."))
}

/// `POST /v2/customer/keys/{key_id}/promote`
///
/// For the account's own login only (contract section 1.5), which this deployment has none of: a
/// superkey is refused, as the contract says.
pub(super) async fn promote(_: Owner) -> Result<Response, Refused> {
    let text = "A superkey cannot promote another key; ask the operator of this Relay";
    Err(Fault::new(Code::CredentialNotPermitted, text).into())
}

/// `POST /v2/customer/keys/{key_id}/topup`
pub(super) async fn top_up(
    State(face): State<Account>,
    owner: Owner,
    headers: HeaderMap,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Refused> {
    let body: TopUpBody = input::json(&face.small_bodies, &headers, request.into_body()).await?;
    face.needs_custom(&owner, "A key budget")?;
    let key = face.identity.key_of(owner.customer(), &id).await?;
    let amount = body.amount.0;
    let changed = face.identity.top_up_key(&key, amount, owner.asked()).await?;
    print(&ToppedUp {
        status: "success",
        key: masked(&key),
        key_id: key.id,
        previous_budget: changed.previous.map(Usd),
        new_budget: Usd(changed.now.unwrap_or(amount)),
        amount_added: body.amount,
    })
}

/// What may be shown of a key's secret.
fn masked(key: &ApiKey) -> String {
    format!("{}...", key.prefix)
}

impl From<ApiKey> for KeyFacts {
    fn from(key: ApiKey) -> Self {
        Self {
            key: masked(&key),
            status: if key.revoked_ms.is_some() { Status::Revoked } else { Status::Active },
            key_id: key.id,
            name: key.name,
            created_at: time(key.created_ms),
            last_used_at: key.last_used_ms.map(time),
            key_budget: key.budget.map(Usd),
            instances_allowed: false,
            is_superkey: key.superkey,
            system: key.system,
        }
    }
}

fn row(mut key: ApiKey) -> KeyRow {
    let restrictions = restrictions_row(std::mem::take(&mut key.restrictions));
    KeyRow { facts: key.into(), restrictions }
}

fn restrictions_row(restrictions: Restrictions) -> RestrictionsRow {
    RestrictionsRow {
        model_restrictions: restrictions.denied_scopes,
        rate_limits: restrictions.limits,
    }
}

fn turned(key: ApiKey, status: &'static str, message: &'static str) -> Turned {
    Turned { status, key: masked(&key), key_id: key.id, message }
}

impl RestrictionsBody {
    fn read(self) -> Result<Restrictions, Fault> {
        let names = self.model_restrictions.unwrap_or_default();
        let denied_scopes = input::scopes("restrictions", &names)?;
        let limits = self.rate_limits.map_or(RateLimits::NONE, |limits| RateLimits {
            direct: limits.direct,
            opengpu: limits.opengpu,
            global: limits.global,
        });
        Ok(Restrictions { denied_scopes, limits })
    }
}
