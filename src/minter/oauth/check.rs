//! What an operator must mend at an upstream authorization server before it can be asked for tokens: what its metadata says that it
//! can do, what its clock shows, and whether it knows us, which a question about a token that nobody made finds out.

use serde_json::{Map, Value};

use super::super::MintError;
use super::server::ClientAuth;
use super::settings::{Endpoints, NOT_ENDED, Verifiers};
use super::{APART_MILLIS, OauthMinter};
use crate::domain::Timestamp;
use crate::sys::SecretString;

pub(super) async fn check(minter: &OauthMinter) -> Result<Vec<String>, MintError> {
    let mut wrong = Vec::new();
    let server = &minter.server;
    let (endpoints, date) = if let Some(fixed) = &server.fixed {
        ((**fixed).clone(), None)
    } else {
        let metadata = match server.metadata().await {
            Ok(metadata) => metadata,
            Err(MintError::Misconfigured(why)) => return Ok(vec![why]),
            Err(error) => return Err(error),
        };
        published(minter, &metadata.all, &mut wrong);
        (metadata.endpoints, metadata.date)
    };
    clock(minter, date, &mut wrong);
    if minter.verifiers == Verifiers::Introspect
        && (endpoints.introspection.is_none() || endpoints.revocation.is_none())
    {
        wrong.push(NOT_ENDED.to_owned());
    }
    known(minter, &endpoints, &mut wrong).await?;
    Ok(wrong)
}

/// Whether the server knows us, by a question that changes nothing.
async fn known(minter: &OauthMinter, endpoints: &Endpoints, wrong: &mut Vec<String>) -> Result<(), MintError> {
    let Some(introspection) = endpoints.introspection.as_ref().filter(|_| minter.verifiers == Verifiers::Introspect)
    else {
        return Ok(());
    };
    match minter.server.introspect(introspection, &SecretString::from("no-token-of-anybody")).await {
        Ok(None) => {}
        Ok(Some(_)) => wrong.push("its introspection calls a token active that nobody made".to_owned()),
        Err(MintError::Refused(why) | MintError::Misconfigured(why)) => wrong.push(why),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn clock(minter: &OauthMinter, date: Option<Timestamp>, wrong: &mut Vec<String>) {
    let apart = date.map_or(0, |theirs| minter.clock.now().millis_since(theirs));
    if apart.abs() > APART_MILLIS {
        wrong.push(format!("this machine's clock and the server's are {} s apart; set it right", apart / 1000));
    }
}

/// What the metadata says that the server can do (RFC 8414 §2).
fn published(minter: &OauthMinter, all: &Map<String, Value>, wrong: &mut Vec<String>) {
    let has = |member: &str, value: &str, or: bool| match all.get(member).and_then(Value::as_array) {
        Some(values) => values.iter().any(|one| one == value),
        None => or,
    };
    if !has("grant_types_supported", "urn:ietf:params:oauth:grant-type:token-exchange", false) {
        wrong.push("the server does not say that it supports token exchange (`grant_types_supported`)".to_owned());
    }
    let (method, by_default) = match &minter.server.auth {
        ClientAuth::Signature => ("private_key_jwt", false),
        ClientAuth::Secret(_) => ("client_secret_basic", true),
    };
    if !has("token_endpoint_auth_methods_supported", method, by_default) {
        wrong.push(format!(
            "the server does not say that it supports `{method}` (`token_endpoint_auth_methods_supported`)"
        ));
    }
    let algorithm = minter.server.algorithm.as_str();
    let signed = matches!(minter.server.auth, ClientAuth::Signature);
    if signed && !has("token_endpoint_auth_signing_alg_values_supported", algorithm, true) {
        wrong.push(format!("the server does not take client assertions by `{algorithm}`; set `algorithm`"));
    }
}
