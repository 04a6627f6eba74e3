//! The certificate and key of the API's listener. TLS 1.3 only, through ring; no resumption state that outlives a connection is
//! relied on anywhere.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::Config;

/// The listener's TLS settings; `None` for plain HTTP, which the configuration check allows on loopback only.
///
/// # Errors
/// When certificate or key cannot be read or do not belong together.
pub fn server_config(config: &Config) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    let Some(tls) = &config.server.tls else { return Ok(None) };
    let named = |path: &std::path::Path| format!("[server.tls] {}", path.display());
    let chain = CertificateDer::pem_file_iter(&tls.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| named(&tls.cert_file))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).with_context(|| named(&tls.key_file))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| named(&tls.cert_file))?;
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(settings)))
}
