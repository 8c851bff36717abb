//! TLS by rustls with the ring provider, if a certificate is configured.

use std::sync::Arc;

use runtime::settings::TlsFiles;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{file} cannot be read as PEM")]
    Pem {
        file: String,
        source: rustls_pki_types::pem::Error,
    },
    #[error("{file} holds no certificate that can be read")]
    Certificate { file: String },
    #[error("certificate and key cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// Reads the files once, so a new certificate needs a restart.
pub fn load(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let pem = |path: &std::path::Path| {
        let file = path.display().to_string();
        move |source| TlsError::Pem { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let own = chain.first().and_then(|own| expiry(own));
    crate::observe::certificate_expires(own.ok_or_else(|| TlsError::Certificate {
        file: files.certificate.display().to_string(),
    })?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?)
}

/// When the certificate expires, in unix seconds.
fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}
