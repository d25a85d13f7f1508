//! TLS for the listener: certificate and key from PEM files, ALPN for HTTP/2 and HTTP/1.1.

use std::{path::Path, sync::Arc};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::config::Tls;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{file}: {why}: it must be a readable PEM file")]
    File {
        /// Which file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate and the key do not fit.
    #[error("the certificate and the key do not fit together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Reads the files and makes what accepts handshakes.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file_error(&tls.certificate, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| file_error(&tls.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn file_error(file: &Path, error: &rustls_pki_types::pem::Error) -> TlsError {
    TlsError::File { file: file.display().to_string(), why: error.to_string() }
}
