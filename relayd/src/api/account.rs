//! `/v2/customer/credits`, `profile`, `settings`, `model-allowlist` and `pricing` (contract section
//! 1.4).

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::catalogue::Offer;
use crate::domain::{Code, CustomerId, Fault, Mode, Ncr, RateLimits, Scope};
use crate::identity::CustomerPatch;
use crate::store::{Balance, Customer, KeyFilter};

use super::access::Owner;
use super::error::Refused;
use super::input;
use super::models::{PriceRow, offered, price_row};
use super::money::Usd;
use super::respond::{print, time};
use super::routes::Account;

#[derive(Serialize)]
struct Credits {
    balance: Usd,
    total_consumed: Usd,
    promo_consumed: Usd,
    total_allocated: Usd,
    promo_allocated: Usd,
    adjustments: Usd,
    consumed_by_mode: ByMode,
    last_topup: Option<LastTopUp>,
    promos: Option<()>,
}

#[derive(Default, Serialize)]
struct ByMode {
    direct: Usd,
    opengpu: Usd,
    instances: Usd,
}

#[derive(Serialize)]
struct LastTopUp {
    amount: Usd,
    timestamp: String,
}

#[derive(Serialize)]
struct Profile {
    customer_id: CustomerId,
    name: String,
    email: Option<String>,
    email_verified: bool,
    tier: String,
    status: &'static str,
    created_at: String,
    credits: ProfileCredits,
    tier_details: TierDetails,
    sub_key_model_allowlist: Option<Vec<Scope>>,
    warning_threshold: Usd,
}

#[derive(Serialize)]
struct ProfileCredits {
    balance: Usd,
    total_consumed: Usd,
    total_allocated: Usd,
}

#[derive(Serialize)]
struct TierDetails {
    max_api_keys: u32,
    current_keys: u64,
    rate_limits: RateLimits,
    model_restrictions: Vec<Scope>,
    is_custom: bool,
    allow_subkeys: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsBody {
    warning_threshold: Usd,
}

#[derive(Serialize)]
struct SettingsAnswer {
    status: &'static str,
    warning_threshold: Usd,
    updated_at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileBody {
    name: Option<String>,
}

#[derive(Serialize)]
struct ProfileAnswer {
    status: &'static str,
    updated_fields: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowlistBody {
    /// Absent and null both lift the list.
    model_allowlist: Option<Vec<String>>,
}

#[derive(Serialize)]
struct AllowlistView {
    model_allowlist: Option<Vec<Scope>>,
}

#[derive(Serialize)]
struct AllowlistAnswer {
    status: &'static str,
    model_allowlist: Option<Vec<Scope>>,
    updated_at: String,
}

#[derive(Serialize)]
struct CustomerPricing {
    tier: String,
    pricing: Vec<CustomerPrice>,
    total_count: usize,
}

#[derive(Serialize)]
struct CustomerPrice {
    #[serde(flatten)]
    price: PriceRow,
    is_override: bool,
}

/// `GET /v2/customer/credits`
pub(super) async fn credits(
    State(face): State<Account>,
    owner: Owner,
) -> Result<Response, Refused> {
    let customer = owner.customer();
    let Balance { balance, allocated, consumed, .. } =
        face.store.balance(customer).await.map_err(Fault::from)?;
    let mut by_mode = ByMode::default();
    for (mode, charged) in face.store.consumed_by_mode(customer).await.map_err(Fault::from)? {
        match mode {
            Mode::Direct => by_mode.direct = Usd(charged),
            Mode::Opengpu => by_mode.opengpu = Usd(charged),
        }
    }
    let last = face.store.last_topup(customer).await.map_err(Fault::from)?;
    print(&Credits {
        balance: Usd(balance),
        total_consumed: Usd(consumed),
        promo_consumed: Usd(Ncr::ZERO),
        total_allocated: Usd(allocated),
        promo_allocated: Usd(Ncr::ZERO),
        adjustments: Usd(Ncr::ZERO),
        consumed_by_mode: by_mode,
        last_topup: last
            .map(|txn| LastTopUp { amount: Usd(txn.amount), timestamp: time(txn.created_ms) }),
        promos: None,
    })
}

/// `GET /v2/customer/profile`
pub(super) async fn profile(
    State(face): State<Account>,
    owner: Owner,
) -> Result<Response, Refused> {
    let customer = face.store.customer(owner.customer()).await.map_err(Fault::from)?;
    let balance = face.store.balance(&customer.id).await.map_err(Fault::from)?;
    let active = KeyFilter {
        customer: Some(customer.id.clone()),
        revoked: Some(false),
        ..KeyFilter::default()
    };
    let current_keys = face.store.count_keys(&active).await.map_err(Fault::from)?;
    let snapshot = face.catalogue.snapshot();
    let tier = snapshot.tier(&customer.tier).ok_or_else(Fault::internal)?;
    print(&Profile {
        customer_id: customer.id,
        name: customer.name,
        email: Some(customer.email).filter(|email| !email.is_empty()),
        email_verified: false,
        tier: customer.tier,
        status: customer.status.as_str(),
        created_at: time(customer.created_ms),
        credits: ProfileCredits {
            balance: Usd(balance.balance),
            total_consumed: Usd(balance.consumed),
            total_allocated: Usd(balance.allocated),
        },
        tier_details: TierDetails {
            max_api_keys: tier.max_keys,
            current_keys,
            rate_limits: tier.limits,
            model_restrictions: tier.denied_scopes.clone(),
            is_custom: tier.custom,
            allow_subkeys: tier.custom,
        },
        sub_key_model_allowlist: customer.model_allowlist,
        warning_threshold: Usd(customer.warning_threshold),
    })
}

/// `PATCH /v2/customer/settings`
pub(super) async fn settings(
    State(face): State<Account>,
    owner: Owner,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let body: SettingsBody = input::json(&face.small_bodies, &headers, request.into_body()).await?;
    let patch = CustomerPatch {
        warning_threshold: Some(body.warning_threshold.0),
        ..CustomerPatch::default()
    };
    let customer = face.patch(&owner, patch).await?;
    print(&SettingsAnswer {
        status: "success",
        warning_threshold: Usd(customer.warning_threshold),
        updated_at: now(),
    })
}

/// `PUT /v2/customer/profile`
pub(super) async fn set_profile(
    State(face): State<Account>,
    owner: Owner,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let body: ProfileBody = input::json(&face.small_bodies, &headers, request.into_body()).await?;
    let updated_fields = body.name.iter().map(|_| "name").collect();
    if body.name.is_some() {
        let patch = CustomerPatch { name: body.name, ..CustomerPatch::default() };
        face.patch(&owner, patch).await?;
    }
    print(&ProfileAnswer { status: "success", updated_fields })
}

/// `GET /v2/customer/model-allowlist`
pub(super) async fn allowlist(
    State(face): State<Account>,
    owner: Owner,
) -> Result<Response, Refused> {
    face.needs_custom(&owner, "A model allowlist")?;
    let customer = face.store.customer(owner.customer()).await.map_err(Fault::from)?;
    print(&AllowlistView { model_allowlist: customer.model_allowlist })
}

/// `PATCH /v2/customer/model-allowlist`
pub(super) async fn set_allowlist(
    State(face): State<Account>,
    owner: Owner,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    face.needs_custom(&owner, "A model allowlist")?;
    let body: AllowlistBody =
        input::json(&face.small_bodies, &headers, request.into_body()).await?;
    let allowlist = body.model_allowlist;
    let allowlist =
        allowlist.map(|scopes| input::scopes("model_allowlist", &scopes)).transpose()?;
    let patch = CustomerPatch { model_allowlist: Some(allowlist), ..CustomerPatch::default() };
    let customer = face.patch(&owner, patch).await?;
    print(&AllowlistAnswer {
        status: "success",
        model_allowlist: customer.model_allowlist,
        updated_at: now(),
    })
}

/// `GET /v2/customer/pricing`
pub(super) async fn pricing(
    State(face): State<Account>,
    owner: Owner,
) -> Result<Response, Refused> {
    face.needs_custom(&owner, "This price list")?;
    let snapshot = face.catalogue.snapshot();
    let row = |offer: &Offer| CustomerPrice { price: price_row(offer), is_override: false };
    let pricing: Vec<CustomerPrice> =
        offered(&snapshot).flat_map(|listing| &listing.offers).map(|offer| row(offer)).collect();
    print(&CustomerPricing { tier: owner.key.tier.clone(), total_count: pricing.len(), pricing })
}

impl Account {
    async fn patch(&self, owner: &Owner, patch: CustomerPatch) -> Result<Customer, Fault> {
        self.identity.patch_customer(owner.customer(), patch, owner.asked()).await
    }

    /// Refuses what only custom tiers have.
    pub(super) fn needs_custom(&self, owner: &Owner, what: &str) -> Result<(), Fault> {
        let snapshot = self.catalogue.snapshot();
        if snapshot.tier(&owner.key.tier).is_some_and(|tier| tier.custom) {
            return Ok(());
        }
        let text =
            format!("{what} is a feature of custom tiers; your tier is '{}'", owner.key.tier);
        Err(Fault::new(Code::TierFeatureUnavailable, text))
    }
}

fn now() -> String {
    time(jiff::Timestamp::now().as_millisecond())
}
