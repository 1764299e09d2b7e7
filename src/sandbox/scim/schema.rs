//! The schemas of RFC 7643 as data: what `/Schemas` shows, what writes are checked against, how filters compare.

use std::sync::LazyLock;

use serde_json::{Value, json};

pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(super) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Boolean,
    DateTime,
    Reference,
    Binary,
    Complex,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::DateTime => "dateTime",
            Self::Reference => "reference",
            Self::Binary => "binary",
            Self::Complex => "complex",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attribute {
    pub name: &'static str,
    pub kind: Kind,
    pub multi_valued: bool,
    pub required: bool,
    pub case_exact: bool,
    /// `readWrite`, `readOnly`, `immutable`, `writeOnly`
    pub mutability: &'static str,
    /// `default`, `always`, `never`
    pub returned: &'static str,
    /// `none`, `server`
    pub uniqueness: &'static str,
    pub canonical_values: &'static [&'static str],
    pub reference_types: &'static [&'static str],
    pub sub_attributes: Vec<Attribute>,
}

impl Attribute {
    fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            multi_valued: false,
            required: false,
            case_exact: matches!(kind, Kind::Reference | Kind::Binary),
            mutability: "readWrite",
            returned: "default",
            uniqueness: "none",
            canonical_values: &[],
            reference_types: if matches!(kind, Kind::Reference) { &["uri"] } else { &[] },
            sub_attributes: Vec::new(),
        }
    }

    /// Sub-attribute by name, in any letter case.
    pub fn sub(&self, name: &str) -> Option<&Attribute> {
        self.sub_attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }

    pub fn is_read_only(&self) -> bool {
        self.mutability == "readOnly"
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "name": self.name,
            "type": self.kind.name(),
            "multiValued": self.multi_valued,
            "description": format!("See RFC 7643: {}", self.name),
            "required": self.required,
            "mutability": self.mutability,
            "returned": self.returned,
        });
        if !matches!(self.kind, Kind::Complex | Kind::Boolean) {
            json["caseExact"] = json!(self.case_exact);
            json["uniqueness"] = json!(self.uniqueness);
        }
        if !self.canonical_values.is_empty() {
            json["canonicalValues"] = json!(self.canonical_values);
        }
        if !self.reference_types.is_empty() {
            json["referenceTypes"] = json!(self.reference_types);
        }
        if !self.sub_attributes.is_empty() {
            json["subAttributes"] = self.sub_attributes.iter().map(Self::to_json).collect();
        }
        json
    }
}

#[derive(Debug)]
pub(super) struct Schema {
    pub id: &'static str,
    name: &'static str,
    pub attributes: Vec<Attribute>,
}

/// Which resources a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Type {
    User,
    Group,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "/Users",
            Self::Group => "/Groups",
        }
    }

    pub fn of_endpoint(name: &str) -> Option<Self> {
        [Self::User, Self::Group].into_iter().find(|kind| kind.endpoint()[1..] == *name)
    }

    pub fn schema(self) -> &'static Schema {
        &SCHEMAS[match self {
            Self::User => 0,
            Self::Group => 2,
        }]
    }

    pub fn extension(self) -> Option<&'static Schema> {
        (self == Self::User).then(|| &SCHEMAS[1])
    }

    /// Attribute by name, in any letter case; the common ones included.
    pub fn attribute(self, name: &str) -> Option<&'static Attribute> {
        let common: &'static [Attribute] = &COMMON;
        let named = |attribute: &&Attribute| attribute.name.eq_ignore_ascii_case(name);
        self.schema().attributes.iter().find(named).or_else(|| common.iter().find(named))
    }
}

pub(super) fn all() -> impl Iterator<Item = Value> {
    SCHEMAS.iter().map(|schema| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": schema.id,
            "name": schema.name,
            "description": format!("{} of RFC 7643", schema.name),
            "attributes": schema.attributes.iter().map(Attribute::to_json).collect::<Vec<_>>(),
        })
    })
}

fn string(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::String)
}

fn boolean(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::Boolean)
}

fn reference(name: &'static str, types: &'static [&'static str]) -> Attribute {
    Attribute { reference_types: types, ..Attribute::new(name, Kind::Reference) }
}

fn complex(name: &'static str, sub_attributes: Vec<Attribute>) -> Attribute {
    Attribute { sub_attributes, ..Attribute::new(name, Kind::Complex) }
}

/// A multi-valued attribute of the usual form: value, display, type, primary.
fn plural(name: &'static str, kind: Kind, types: &'static [&'static str]) -> Attribute {
    let value = Attribute {
        reference_types: if kind == Kind::Reference { &["external"] } else { &[] },
        ..Attribute::new("value", kind)
    };
    let kinds = Attribute { canonical_values: types, ..string("type") };
    Attribute { multi_valued: true, ..complex(name, vec![value, string("display"), kinds, boolean("primary")]) }
}

fn read_only(attribute: Attribute) -> Attribute {
    Attribute { mutability: "readOnly", ..attribute }
}

fn immutable(attribute: Attribute) -> Attribute {
    Attribute { mutability: "immutable", ..attribute }
}

static COMMON: LazyLock<Vec<Attribute>> = LazyLock::new(|| {
    let exact = |attribute| Attribute { case_exact: true, ..attribute };
    let meta = ["resourceType", "location", "version"].map(|name| exact(read_only(string(name))));
    let stamps = ["created", "lastModified"].map(|name| read_only(Attribute::new(name, Kind::DateTime)));
    vec![
        Attribute { returned: "always", uniqueness: "server", ..exact(read_only(string("id"))) },
        exact(string("externalId")),
        Attribute { multi_valued: true, returned: "always", ..exact(string("schemas")) },
        read_only(complex("meta", meta.into_iter().chain(stamps).collect())),
    ]
});

static SCHEMAS: LazyLock<[Schema; 3]> = LazyLock::new(|| {
    [
        Schema { id: USER, name: "User", attributes: user() },
        Schema { id: ENTERPRISE, name: "EnterpriseUser", attributes: enterprise() },
        Schema { id: GROUP, name: "Group", attributes: group() },
    ]
});

fn user() -> Vec<Attribute> {
    let names = ["formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix"];
    let address = ["formatted", "streetAddress", "locality", "region", "postalCode", "country"];
    let address = address
        .map(string)
        .into_iter()
        .chain([Attribute { canonical_values: &["work", "home", "other"], ..string("type") }, boolean("primary")]);
    let membership = vec![
        read_only(string("value")),
        read_only(reference("$ref", &["User", "Group"])),
        read_only(string("display")),
        Attribute { canonical_values: &["direct", "indirect"], ..read_only(string("type")) },
    ];
    vec![
        Attribute { required: true, uniqueness: "server", ..string("userName") },
        complex("name", names.map(string).into()),
        string("displayName"),
        string("nickName"),
        reference("profileUrl", &["external"]),
        string("title"),
        string("userType"),
        string("preferredLanguage"),
        string("locale"),
        string("timezone"),
        boolean("active"),
        Attribute { mutability: "writeOnly", returned: "never", ..string("password") },
        plural("emails", Kind::String, &["work", "home", "other"]),
        plural("phoneNumbers", Kind::String, &["work", "home", "mobile", "fax", "pager", "other"]),
        plural("ims", Kind::String, &["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"]),
        plural("photos", Kind::Reference, &["photo", "thumbnail"]),
        Attribute { multi_valued: true, ..complex("addresses", address.collect()) },
        Attribute { multi_valued: true, ..read_only(complex("groups", membership)) },
        plural("entitlements", Kind::String, &[]),
        plural("roles", Kind::String, &[]),
        plural("x509Certificates", Kind::Binary, &[]),
    ]
}

fn enterprise() -> Vec<Attribute> {
    let manager = vec![string("value"), reference("$ref", &["User"]), read_only(string("displayName"))];
    let plain = ["employeeNumber", "costCenter", "organization", "division", "department"];
    plain.map(string).into_iter().chain([complex("manager", manager)]).collect()
}

fn group() -> Vec<Attribute> {
    let kinds = Attribute { canonical_values: &["User", "Group"], ..immutable(string("type")) };
    // No `display`: the schema of RFC 7643, section 8.7.1, has none.
    let member = vec![immutable(string("value")), immutable(reference("$ref", &["User", "Group"])), kinds];
    vec![
        Attribute { required: true, ..string("displayName") },
        Attribute { multi_valued: true, ..complex("members", member) },
    ]
}
