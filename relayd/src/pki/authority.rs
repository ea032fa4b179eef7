//! The authority and what it signs.

use jiff::civil::Date;
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use zeroize::Zeroizing;

use super::{MAX_DAYS, PkiError};

/// Most names in one server certificate; more is a mistake in a script.
const NAMES_MAX: usize = 64;

/// Signs certificates. Holds the private key.
pub struct Authority {
    cert_pem: String,
    key_pem: Zeroizing<String>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// The private key; wiped when dropped.
    pub key_pem: Zeroizing<String>,
}

/// From when until when, by whole days in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    from: Date,
    until: Date,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be served under these DNS names and addresses; at least one.
    Server(Vec<String>),
    /// To call with; the name tells people whose it is.
    Client(String),
}

impl Validity {
    /// From yesterday (a caller's clock may be behind ours) for this many days from today.
    ///
    /// # Errors
    /// [`PkiError::Days`] outside 1 to 10,957.
    pub fn days(days: u32) -> Result<Self, PkiError> {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        Self::around(today, days)
    }

    fn around(today: Date, days: u32) -> Result<Self, PkiError> {
        if days == 0 || days > MAX_DAYS {
            return Err(PkiError::Days(days));
        }
        let out_of_range = |_| PkiError::Days(days);
        Ok(Self {
            from: today.checked_sub(Span::new().days(1)).map_err(out_of_range)?,
            until: today.checked_add(Span::new().days(i64::from(days))).map_err(out_of_range)?,
        })
    }

    /// Exactly these days; the last one is exclusive.
    #[must_use]
    pub const fn between(from: Date, until: Date) -> Self {
        Self { from, until }
    }

    fn apply(self, params: &mut CertificateParams) {
        let moment = |date: Date| {
            let [month, day] = [date.month(), date.day()].map(i8::unsigned_abs);
            date_time_ymd(i32::from(date.year()), month, day)
        };
        params.not_before = moment(self.from);
        params.not_after = moment(self.until);
    }
}

impl Authority {
    /// Makes a new authority with this name.
    ///
    /// # Errors
    /// [`PkiError::Name`] for an empty name, [`PkiError::Encode`] when the library refuses.
    pub fn create(name: &str, validity: Validity) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        validity.apply(&mut params);
        let key = KeyPair::generate()?;
        let cert_pem = params.self_signed(&key)?.pem();
        let key_pem = Zeroizing::new(key.serialize_pem());
        Ok(Self { cert_pem, key_pem, issuer: Issuer::new(params, key) })
    }

    /// Takes an authority from its PEM texts.
    ///
    /// # Errors
    /// [`PkiError::Encode`] when either text is not what it should be.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(cert_pem, key)?;
        Ok(Self {
            cert_pem: cert_pem.to_owned(),
            key_pem: Zeroizing::new(key_pem.to_owned()),
            issuer,
        })
    }

    /// Signs a certificate with a key of its own.
    ///
    /// # Errors
    /// [`PkiError::Name`] when a name has no place in a certificate.
    pub fn issue(&self, purpose: &Purpose, validity: Validity) -> Result<Issued, PkiError> {
        let mut params = match purpose {
            Purpose::Server(names) => server(names)?,
            Purpose::Client(name) => client(name)?,
        };
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        validity.apply(&mut params);
        let key = KeyPair::generate()?;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { cert_pem, key_pem: Zeroizing::new(key.serialize_pem()) })
    }

    /// The authority's certificate, PEM: what the other side trusts.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's private key, PEM: to be stored, and shown to nobody.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

fn server(names: &[String]) -> Result<CertificateParams, PkiError> {
    let Some(first) = names.first() else { return Err(PkiError::Name(String::new())) };
    if names.len() > NAMES_MAX {
        return Err(PkiError::Name(format!("{} names, at most {NAMES_MAX}", names.len())));
    }
    if let Some(bad) = names.iter().find(|name| !is_host(name)) {
        return Err(PkiError::Name(bad.clone()));
    }
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = subject(first)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn client(name: &str) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// 64 is the bound that X.509 sets for a common name.
fn subject(name: &str) -> Result<DistinguishedName, PkiError> {
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    {
        return Err(PkiError::Name(name.chars().filter(|c| !c.is_control()).take(80).collect()));
    }
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject.push(DnType::OrganizationName, "Relay");
    Ok(subject)
}

fn is_host(name: &str) -> bool {
    let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'*');
    name.parse::<std::net::IpAddr>().is_ok()
        || (!name.is_empty() && name.len() <= 64 && name.bytes().all(label))
}
