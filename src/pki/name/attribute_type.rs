//! Short names of attribute types: RFC 4514 §3, RFC 4519, and those that people meet in certificates.

/// Object identifier, the name that is printed, and other names that are read. Names are matched without regard to case.
const TYPES: &[(&str, &str, &[&str])] = &[
    ("2.5.4.3", "CN", &["commonName"]),
    ("2.5.4.4", "SN", &["surname"]),
    ("2.5.4.5", "serialNumber", &[]),
    ("2.5.4.6", "C", &["countryName"]),
    ("2.5.4.7", "L", &["localityName"]),
    ("2.5.4.8", "ST", &["stateOrProvinceName", "S", "SP"]),
    ("2.5.4.9", "STREET", &["streetAddress"]),
    ("2.5.4.10", "O", &["organizationName"]),
    ("2.5.4.11", "OU", &["organizationalUnitName"]),
    ("2.5.4.12", "title", &["T"]),
    ("2.5.4.13", "description", &[]),
    ("2.5.4.15", "businessCategory", &[]),
    ("2.5.4.17", "postalCode", &[]),
    ("2.5.4.20", "telephoneNumber", &[]),
    ("2.5.4.41", "name", &[]),
    ("2.5.4.42", "GN", &["givenName", "G"]),
    ("2.5.4.43", "initials", &["I"]),
    ("2.5.4.44", "generationQualifier", &[]),
    ("2.5.4.45", "x500UniqueIdentifier", &[]),
    ("2.5.4.46", "dnQualifier", &[]),
    ("2.5.4.65", "pseudonym", &[]),
    ("2.5.4.97", "organizationIdentifier", &[]),
    ("0.9.2342.19200300.100.1.1", "UID", &["userId"]),
    ("0.9.2342.19200300.100.1.25", "DC", &["domainComponent"]),
    ("1.2.840.113549.1.9.1", "emailAddress", &["E", "email", "pkcs9email"]),
    ("1.2.840.113549.1.9.2", "unstructuredName", &[]),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL", &["jurisdictionLocalityName"]),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST", &["jurisdictionStateOrProvinceName"]),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC", &["jurisdictionCountryName"]),
];

/// The type of an attribute, by its object identifier.
#[cfg(feature = "server")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeType(String);

#[cfg(feature = "server")]
impl AttributeType {
    /// The type that somebody wrote as a short name in any case, or as a dotted object identifier.
    pub fn parse(written: &str) -> Option<Self> {
        oid(written).map(Self)
    }

    pub(super) fn oid(&self) -> &str {
        &self.0
    }
}

/// The name to print for an object identifier.
pub(super) fn short_name(oid: &str) -> Option<&'static str> {
    TYPES.iter().find(|(known, ..)| *known == oid).map(|(_, name, _)| *name)
}

/// The object identifier of a type as somebody wrote it: a name, `1.2.3`, or `OID.1.2.3`.
pub(super) fn oid(written: &str) -> Option<String> {
    let dotted = match written.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("oid.") => written.get(4..).unwrap_or_default(),
        _ => written,
    };
    if dotted.starts_with(|first: char| first.is_ascii_digit()) {
        return is_oid(dotted).then(|| dotted.to_owned());
    }
    let matches = |name: &str| name.eq_ignore_ascii_case(written);
    let known = TYPES.iter().find(|(_, name, aliases)| matches(name) || aliases.iter().any(|alias| matches(alias)));
    known.map(|(oid, ..)| (*oid).to_owned())
}

fn is_oid(text: &str) -> bool {
    let is_arc = |arc: &str| {
        (1..=19).contains(&arc.len()) && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'))
    };
    let arcs: Vec<&str> = text.split('.').collect();
    arcs.len() >= 2 && arcs.len() <= 32 && arcs.iter().all(|arc| is_arc(arc)) && matches!(arcs.first(), Some(&("0" | "1" | "2")))
}
