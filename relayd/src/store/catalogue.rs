//! Tiers, models and prices.

use sqlx::AnyConnection;

use super::Store;
use super::error::StoreError;
use super::row::Columns;
use super::write::{Counter, bump, expect_put, json};
use crate::domain::{
    Meter, Mode, ModelName, PriceId, RateLimits, Scope, Source, Tier, TokenizerSource,
};
use crate::ledger::{LongContext, Price, Rates};

/// A row with the number of its changes, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The row.
    pub row: T,
    /// Its version.
    pub version: u64,
}

/// A model, without its prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its canonical name.
    pub name: ModelName,
    /// Its name for people.
    pub display_name: String,
    /// What it turns into what: `text-to-text`.
    pub tag: String,
    /// Withdrawn: still described, no longer served.
    pub retired: bool,
    /// Usable without a credential.
    pub guests: bool,
    /// Longest prompt and answer together, in tokens.
    pub context_tokens: u64,
    /// Output cap, in tokens, of a request that names none.
    pub max_output_default: u64,
    /// Tokens that the engine's chat template may add to the text of a prompt.
    pub template_overhead_tokens: u64,
    /// What it can do beyond text.
    pub capabilities: Vec<String>,
    /// Where its tokenizer is; without one no independent provider serves it.
    pub tokenizer: Option<TokenizerSource>,
    /// By which mode and source it is offered; a price row of another is history.
    pub offers: Vec<(Mode, Source)>,
}

/// The whole catalogue, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct CatalogueRows {
    /// Tiers by level and name.
    pub tiers: Vec<Versioned<Tier>>,
    /// Models by name.
    pub models: Vec<Versioned<Model>>,
    /// Every price row, by scope and the time from which it applies, oldest first.
    pub prices: Vec<Price>,
    /// The counter of changes at that moment or before.
    pub counter: i64,
}

macro_rules! select_price {
    () => {
        "select id, mode, source, model, in_uncached, in_cache_read, in_cache_write_5m,
            in_cache_write_1h, out_text, out_reasoning, long_above, long_in_uncached,
            long_in_cache_read, long_in_cache_write_5m, long_in_cache_write_1h, long_out_text,
            long_out_reasoning, provider_bps, valid_from_ms from price"
    };
}

impl Store {
    /// Loads tiers, models and prices. The catalogue is small: it is read whole or not at all.
    ///
    /// # Errors
    /// As every read.
    pub async fn catalogue(&self) -> Result<CatalogueRows, StoreError> {
        // The counter first: what changes while this reads is read again after the next poll.
        let counter = self.counter(Counter::Catalogue).await?;
        let tiers = sqlx::query(
            "select name, level, custom, max_keys, weight, direct_rpm, opengpu_rpm, global_rpm,
                denied_scopes, version from tier order by level, name",
        )
        .fetch_all(self.reader())
        .await?;
        let models = sqlx::query(
            "select name, display_name, tag, retired, guests, context_tokens, max_output_default,
                template_overhead_tokens, capabilities, scopes, tokenizer, version from model
             order by name",
        )
        .fetch_all(self.reader())
        .await?;
        let prices = sqlx::query(concat!(
            select_price!(),
            " order by mode, source, model, valid_from_ms, id"
        ))
        .fetch_all(self.reader())
        .await?;
        Ok(CatalogueRows {
            tiers: tiers.iter().map(read_tier).collect::<Result<_, _>>()?,
            models: models.iter().map(read_model).collect::<Result<_, _>>()?,
            prices: prices.iter().map(read_price).collect::<Result<_, _>>()?,
            counter,
        })
    }

    /// A price row, current or superseded.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn price(&self, id: &PriceId) -> Result<Price, StoreError> {
        let row = sqlx::query(concat!(select_price!(), " where id = $1"))
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        read_price(&row.ok_or(StoreError::NotFound("price"))?)
    }
}

pub(super) fn read_limits(row: &impl Columns) -> Result<RateLimits, StoreError> {
    Ok(RateLimits {
        direct: row.u32_opt("direct_rpm")?,
        opengpu: row.u32_opt("opengpu_rpm")?,
        global: row.u32_opt("global_rpm")?,
    })
}

fn read_tier(row: &sqlx::any::AnyRow) -> Result<Versioned<Tier>, StoreError> {
    let small = |name| u32::try_from(row.int(name)?).map_err(|_| StoreError::corrupt(name));
    Ok(Versioned {
        row: Tier {
            name: row.text("name")?,
            level: small("level")?,
            custom: row.flag("custom")?,
            max_keys: small("max_keys")?,
            weight: small("weight")?,
            limits: read_limits(row)?,
            denied_scopes: row.json("denied_scopes")?,
        },
        version: row.count("version")?,
    })
}

fn read_model(row: &sqlx::any::AnyRow) -> Result<Versioned<Model>, StoreError> {
    Ok(Versioned {
        row: Model {
            name: row.parse("name")?,
            display_name: row.text("display_name")?,
            tag: row.text("tag")?,
            retired: row.flag("retired")?,
            guests: row.flag("guests")?,
            context_tokens: row.count("context_tokens")?,
            max_output_default: row.count("max_output_default")?,
            template_overhead_tokens: row.count("template_overhead_tokens")?,
            capabilities: row.json("capabilities")?,
            tokenizer: row.parse_opt("tokenizer")?,
            offers: row.json("scopes")?,
        },
        version: row.count("version")?,
    })
}

pub(super) fn read_price(row: &impl Columns) -> Result<Price, StoreError> {
    let rates = Rates {
        in_uncached: row.int("in_uncached")?,
        in_cache_read: row.int("in_cache_read")?,
        in_cache_write_5m: row.int("in_cache_write_5m")?,
        in_cache_write_1h: row.int("in_cache_write_1h")?,
        out_text: row.int("out_text")?,
        out_reasoning: row.int("out_reasoning")?,
    };
    let long = match row.int_opt("long_above")? {
        None => None,
        Some(above) => Some(LongContext {
            above_input_tokens: u64::try_from(above)
                .map_err(|_| StoreError::corrupt("long_above"))?,
            rates: Rates {
                in_uncached: row.int("long_in_uncached")?,
                in_cache_read: row.int("long_in_cache_read")?,
                in_cache_write_5m: row.int("long_in_cache_write_5m")?,
                in_cache_write_1h: row.int("long_in_cache_write_1h")?,
                out_text: row.int("long_out_text")?,
                out_reasoning: row.int("long_out_reasoning")?,
            },
        }),
    };
    Ok(Price {
        id: row.parse("id")?,
        scope: row.scope()?,
        rates,
        long,
        provider_bps: u16::try_from(row.int("provider_bps")?)
            .map_err(|_| StoreError::corrupt("provider_bps"))?,
        valid_from_ms: row.int("valid_from_ms")?,
    })
}

pub(super) async fn put_tier(
    conn: &mut AnyConnection,
    tier: &Tier,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    bump(conn, Counter::Catalogue).await?;
    let row = sqlx::query(
        "insert into tier (name, level, custom, max_keys, direct_rpm, opengpu_rpm, global_rpm,
            denied_scopes, weight, version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)
         on conflict (name) do update set level = excluded.level, custom = excluded.custom,
            max_keys = excluded.max_keys, direct_rpm = excluded.direct_rpm,
            opengpu_rpm = excluded.opengpu_rpm, global_rpm = excluded.global_rpm,
            denied_scopes = excluded.denied_scopes, weight = excluded.weight,
            version = tier.version + 1
         returning version",
    )
    .bind(&tier.name)
    .bind(i64::from(tier.level))
    .bind(i64::from(tier.custom))
    .bind(i64::from(tier.max_keys))
    .bind(tier.limits.direct.map(i64::from))
    .bind(tier.limits.opengpu.map(i64::from))
    .bind(tier.limits.global.map(i64::from))
    .bind(json(&tier.denied_scopes))
    .bind(i64::from(tier.weight))
    .fetch_one(conn)
    .await?;
    expect_put("tier", &row, expected)
}

pub(super) async fn put_model(
    conn: &mut AnyConnection,
    model: &Model,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    bump(conn, Counter::Catalogue).await?;
    let row = sqlx::query(
        "insert into model (name, display_name, tag, retired, guests, context_tokens,
            max_output_default, template_overhead_tokens, capabilities, scopes, tokenizer, version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1)
         on conflict (name) do update set display_name = excluded.display_name, tag = excluded.tag,
            retired = excluded.retired, guests = excluded.guests,
            context_tokens = excluded.context_tokens,
            max_output_default = excluded.max_output_default,
            template_overhead_tokens = excluded.template_overhead_tokens,
            capabilities = excluded.capabilities, scopes = excluded.scopes,
            tokenizer = excluded.tokenizer,
            version = model.version + 1
         returning version",
    )
    .bind(model.name.as_str())
    .bind(&model.display_name)
    .bind(&model.tag)
    .bind(i64::from(model.retired))
    .bind(i64::from(model.guests))
    .bind(i64::try_from(model.context_tokens).unwrap_or(i64::MAX))
    .bind(i64::try_from(model.max_output_default).unwrap_or(i64::MAX))
    .bind(i64::try_from(model.template_overhead_tokens).unwrap_or(i64::MAX))
    .bind(json(&model.capabilities))
    .bind(json(&model.offers))
    .bind(model.tokenizer.as_ref().map(ToString::to_string))
    .fetch_one(conn)
    .await?;
    expect_put("model", &row, expected)
}

pub(super) async fn insert_price(
    conn: &mut AnyConnection,
    price: &Price,
    at_ms: i64,
) -> Result<(), StoreError> {
    if !price.is_valid() {
        return Err(StoreError::Precondition("a price has a negative rate or a share above all"));
    }
    bump(conn, Counter::Catalogue).await?;
    let mut query = sqlx::query(
        "insert into price (id, mode, source, model, in_uncached, in_cache_read, in_cache_write_5m,
            in_cache_write_1h, out_text, out_reasoning, long_above, long_in_uncached,
            long_in_cache_read, long_in_cache_write_5m, long_in_cache_write_1h, long_out_text,
            long_out_reasoning, provider_bps, valid_from_ms, created_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
            $19, $20)",
    )
    .bind(price.id.as_str())
    .bind(price.scope.mode.as_str())
    .bind(price.scope.source.as_str())
    .bind(price.scope.model.as_str());
    for meter in Meter::ALL {
        query = query.bind(price.rates.get(meter));
    }
    let above = price.long.map(|long| i64::try_from(long.above_input_tokens).unwrap_or(i64::MAX));
    let long = price.long.map(|long| long.rates).unwrap_or_default();
    query = query.bind(above);
    for meter in Meter::ALL {
        query = query.bind(long.get(meter));
    }
    query
        .bind(i64::from(price.provider_bps))
        .bind(price.valid_from_ms)
        .bind(at_ms)
        .execute(conn)
        .await?;
    Ok(())
}

impl Model {
    /// Whether it is offered under this scope.
    #[must_use]
    pub fn offers(&self, scope: &Scope) -> bool {
        scope.model == self.name && self.offers.contains(&(scope.mode, scope.source))
    }
}
