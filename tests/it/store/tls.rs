//! TLS to the database: its certificate is verified against the authority that is named, for the name it is reached by.

use std::path::Path;
use std::process::Command;

use hallpass::store::{Store, StoreError, StoreSettings};

use crate::support::postgres::Server;

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and a certificate of its for `localhost` with its key.
fn make_certificates(folder: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(folder, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"));
    openssl(folder, &format!("req -x509 {key} -keyout other.key -out other.pem -days 2 -subj /CN=other"));
    openssl(folder, &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    std::fs::write(folder.join("san"), "subjectAltName=DNS:localhost").unwrap();
    openssl(folder, "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -out server.crt -days 2 -extfile san");
}

#[tokio::test]
async fn the_databases_certificate_is_verified_by_authority_and_name() {
    // The broker names its provider at start; a test that comes first does so too.
    drop(rustls::crypto::ring::default_provider().install_default());
    let made = tempfile::tempdir().unwrap();
    make_certificates(made.path());
    let server = Server::start_after(|data| {
        for name in ["server.crt", "server.key"] {
            std::fs::copy(made.path().join(name), data.join(name)).unwrap();
            crate::support::postgres::give_away(&data.join(name));
        }
        let rules = "hostssl all all all trust\nlocal all all trust\nhost all all all reject\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"ssl = on\n"))
            .unwrap();
    });
    let plain = server.url("tls");
    let by = |host: &str, query: &str| {
        StoreSettings::new(plain.replace("127.0.0.1", host).replace("sslmode=disable", query))
    };
    let authority = |name: &str| format!("sslmode=verify-full&sslrootcert={}", made.path().join(name).display());
    let store = Store::open(&by("localhost", &authority("ca.pem"))).await.unwrap();
    store.probe_write().await.unwrap();
    store.close().await;
    for (why, settings) in [
        ("another authority", by("localhost", &authority("other.pem"))),
        ("another name", by("127.0.0.1", &authority("ca.pem"))),
        ("no encryption", by("localhost", "sslmode=disable")),
    ] {
        let refused = Store::open(&settings).await.err();
        assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{why}: {refused:?}");
    }
}
