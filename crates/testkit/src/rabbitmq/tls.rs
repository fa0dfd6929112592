//! A certificate authority of a node's own, and the certificate that it signs for `localhost`.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;

/// The authority's certificate, in the node's directory.
pub(super) const CA_FILE: &str = "ca.pem";
const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// Writes authority, certificate and key, and gives the configuration that listens with them.
pub(super) fn prepare(directory: &Path, inside: &Path, port: u16) -> String {
    let key = || KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
    let server_key = key();
    let server = CertificateParams::new(vec!["localhost".to_owned()])
        .and_then(|server| server.signed_by(&server_key, &authority))
        .expect("a certificate");
    for (name, text) in [
        (CA_FILE, authority.pem()),
        (CERTIFICATE_FILE, server.pem()),
        (KEY_FILE, server_key.serialize_pem()),
    ] {
        std::fs::write(directory.join(name), text).expect("a file of the certificate");
    }
    let at = |name: &str| inside.join(name).display().to_string();
    format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\n\
         ssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n\
         ssl_options.verify = verify_none\n",
        at(CA_FILE),
        at(CERTIFICATE_FILE),
        at(KEY_FILE)
    )
}
