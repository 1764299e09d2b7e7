//! The JWT bearer flow: an assertion, signed with the connected app's key, that names the user to act as.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous};
use serde_json::Value;

use super::{PermittedUsers, Refusal, Salesforce};
use crate::sandbox::lock;
use crate::sandbox::salesforce::org::Org;
use crate::sandbox::salesforce::row::{Cell, Row};

/// The vendor lets an assertion live on for this long after its `exp`, for clocks that differ.
const SKEW_SECONDS: i64 = 180;
/// The longest life of an assertion. The vendor names no figure; its example stays within this one.
const MAX_LIFE_SECONDS: i64 = 300;
/// Login hosts of real orgs, good as audience besides the org's own address.
const LOGIN_HOSTS: [&str; 2] = ["https://login.salesforce.com", "https://test.salesforce.com"];

/// The user as whom the bearer of an assertion acts; their serial.
///
/// # Errors
/// The token endpoint's refusal.
pub(super) fn user_of(salesforce: &Salesforce, assertion: &str, origin: &str) -> Result<u64, Refusal> {
    let invalid = ("invalid_grant", "invalid assertion");
    // Who it claims to be from decides which key to check it with.
    let claims = dangerous::insecure_decode::<Value>(assertion).map_err(|_| invalid)?.claims;
    if claims["iss"].as_str() != Some(salesforce.app.client_id.as_str()) {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    let Some(certificate) = &salesforce.app.certificate_pem else {
        return Err(("invalid_client", "invalid client credentials"));
    };
    let key = DecodingKey::from_rsa_pem(certificate.as_bytes()).map_err(|_| invalid)?;
    let claims = jsonwebtoken::decode::<Value>(assertion, &key, &signature_only()).map_err(|_| invalid)?.claims;

    let is_ours = |audience: &str| audience == origin || LOGIN_HOSTS.contains(&audience);
    if !claims["aud"].as_str().is_some_and(is_ours) {
        return Err(("invalid_grant", "audience is invalid"));
    }
    let left = seconds(&claims["exp"]).ok_or(invalid)?.saturating_sub(salesforce.clock.now_seconds());
    if left <= -SKEW_SECONDS || left > MAX_LIFE_SECONDS + SKEW_SECONDS {
        return Err(("invalid_grant", "expired authorization code"));
    }
    let org = lock(&salesforce.org);
    let unapproved = match lock(&salesforce.options).permitted_users {
        PermittedUsers::AdminApproved => ("invalid_app_access", "user is not admin approved to access this app"),
        PermittedUsers::SelfAuthorized => ("invalid_grant", "user hasn't approved this consumer"),
    };
    // Whether there is such a user is not told.
    let user = claims["sub"].as_str().and_then(|name| by_username(&org, name));
    let user = user.filter(|user| is_approved(&org, user)).ok_or(unapproved)?;
    if *user.cell("IsActive") != Cell::Bool(true) {
        return Err(("invalid_grant", "inactive user"));
    }
    Ok(user.serial)
}

fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// Some clients write the number as text.
fn seconds(claim: &Value) -> Option<i64> {
    claim.as_i64().or_else(|| claim.as_str()?.parse().ok())
}

fn by_username<'a>(org: &'a Org, name: &str) -> Option<&'a Arc<Row>> {
    let table = org.table("User")?;
    let id = org.with_key("User", table.object.index("Username")?, name).pop()?;
    org.find("User", &id).ok()
}

/// Approved beforehand is the profile of administrators, which the integration user has.
fn is_approved(org: &Org, user: &Row) -> bool {
    user.cell("ProfileId").as_text() == Some(org.first_id("Profile").as_str())
}
