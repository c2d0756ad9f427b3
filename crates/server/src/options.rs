//! Settings of the service, each with a default that is safe on a developer's machine.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anser_core::storage::sha256_hex;
use subtle::{Choice, ConstantTimeEq};

use crate::ServerError;

/// How the service listens and what it allows.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address to listen on. Anything but a loopback address needs [`ServerOptions::api_keys`].
    pub listen: SocketAddr,
    /// Most bytes of a body that carries documents or texts to embed.
    pub max_body_bytes: usize,
    /// Most bytes of a file that is uploaded.
    pub max_upload_bytes: u64,
    /// Most bytes of any other JSON body.
    pub max_json_bytes: usize,
    /// Longest time one request may take, streams included.
    pub request_timeout: Duration,
    /// Requests worked on at the same time; more are answered with 429.
    pub max_in_flight: usize,
    /// Keys that callers must present as `Authorization: Bearer`; empty means that none is asked for.
    pub api_keys: Vec<ApiKey>,
    /// Values of the `Host` header accepted besides loopback names when no key is asked for.
    pub allowed_hosts: Vec<String>,
    /// How long running requests may still take once shutdown has begun.
    pub shutdown_grace: Duration,
    /// Whether replies of the chat models are withheld when the content filter finds them harmful.
    pub filter_replies: bool,
    /// Whether the models are loaded as soon as the service starts rather than at the first request.
    pub preload: bool,
    /// Analyses that run at the same time, at least 1. Beside them runs one training.
    pub analyses: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            max_body_bytes: 64 << 20,
            max_upload_bytes: 512 << 20,
            max_json_bytes: 2 << 20,
            request_timeout: Duration::from_mins(10),
            max_in_flight: 64,
            api_keys: Vec::new(),
            allowed_hosts: Vec::new(),
            shutdown_grace: Duration::from_secs(30),
            filter_replies: false,
            preload: true,
            analyses: 1,
        }
    }
}

impl ServerOptions {
    /// Refuses settings that would expose the service without a key, or that make it useless.
    pub fn validate(&self) -> Result<(), ServerError> {
        self.validate_for(self.listen)
    }

    /// As [`ServerOptions::validate`], for the address that was really bound.
    pub(crate) fn validate_for(&self, address: SocketAddr) -> Result<(), ServerError> {
        if !address.ip().is_loopback() && self.api_keys.is_empty() {
            return Err(ServerError::KeysRequired { address });
        }
        let positive = [
            ("max_body_bytes", self.max_body_bytes > 0),
            ("max_upload_bytes", self.max_upload_bytes > 0),
            ("max_json_bytes", self.max_json_bytes > 0),
            ("request_timeout", !self.request_timeout.is_zero()),
            ("max_in_flight", self.max_in_flight > 0),
        ];
        match positive.into_iter().find(|(_, ok)| !ok) {
            Some((option, _)) => Err(ServerError::ZeroOption { option }),
            None => Ok(()),
        }
    }
}

/// A key that callers may present. Only its SHA-256 is held.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Lower-case hexadecimal.
    sha256: String,
}

impl ApiKey {
    /// The key whose text is `secret`; fails on an empty one.
    pub fn from_secret(secret: &str) -> Result<Self, ServerError> {
        if secret.trim().is_empty() {
            return Err(ServerError::BadKey { reason: "an API key is empty" });
        }
        Ok(Self { sha256: sha256_hex(secret.as_bytes()) })
    }

    /// The key whose SHA-256 is `digest`, 64 hexadecimal digits.
    pub fn from_sha256(digest: &str) -> Result<Self, ServerError> {
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ServerError::BadKey { reason: "a hashed API key is not 64 hexadecimal digits" });
        }
        Ok(Self { sha256: digest.to_ascii_lowercase() })
    }

    /// Whether `presented` is one of `keys`; takes the same time whichever key matches, and however much of it.
    pub(crate) fn is_any_of(keys: &[Self], presented: &str) -> bool {
        let presented = sha256_hex(presented.as_bytes());
        let found =
            keys.iter().fold(Choice::from(0), |found, key| found | key.sha256.as_bytes().ct_eq(presented.as_bytes()));
        found.into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_of_the_list_matches() {
        let keys = [
            ApiKey::from_secret("one").unwrap(),
            ApiKey::from_sha256("3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3").unwrap(),
        ];
        assert!(ApiKey::is_any_of(&keys, "one"));
        assert!(ApiKey::is_any_of(&keys, "two"));
        assert!(!ApiKey::is_any_of(&keys, "three"));
        assert!(!ApiKey::is_any_of(&keys, ""));
        assert!(!ApiKey::is_any_of(&[], "one"));
    }

    #[test]
    fn unusable_keys_are_refused_and_none_is_printed() {
        assert!(ApiKey::from_secret(" ").is_err());
        assert!(ApiKey::from_sha256("abc").is_err());
        assert!(!format!("{:?}", ApiKey::from_secret("hidden").unwrap()).contains("hidden"));
    }

    #[test]
    fn an_open_address_needs_a_key() {
        let open = ServerOptions { listen: SocketAddr::from(([0, 0, 0, 0], 80)), ..ServerOptions::default() };
        assert!(open.validate().unwrap_err().to_string().contains("0.0.0.0:80"));
        let keyed = ServerOptions { api_keys: vec![ApiKey::from_secret("k").unwrap()], ..open };
        keyed.validate().unwrap();
        ServerOptions::default().validate().unwrap();
        let idle = ServerOptions { max_in_flight: 0, ..ServerOptions::default() };
        assert!(idle.validate().unwrap_err().to_string().contains("max_in_flight"));
    }
}
