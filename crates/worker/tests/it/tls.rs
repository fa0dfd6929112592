//! Services behind TLS.

use crate::{
    bench::start,
    http::{bench, dead, sending, submit, to, told},
    support::{Place, probes},
};
use pumasi_common::{Task, outcome::Outcome};
use pumasi_testkit::process::{Service, until};
use pumasi_worker::{HttpConfig, handler::http::Http};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, Stream};
use std::{
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// An authority that nobody knows, and a service that it vouches for.
struct Secure {
    port: u16,
    ca_file: PathBuf,
    served: Arc<AtomicUsize>,
}

impl Secure {
    /// Starts one that answers 200 to whatever comes.
    fn start(folder: &Path) -> Self {
        let mut authority = CertificateParams::new(vec![]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let ca_file = folder.join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(config);
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
                // A client that refuses the certificate goes away here.
                let mut secure = Stream::new(&mut session, &mut stream);
                let mut head = [0; 4096];
                if secure.read(&mut head).is_ok_and(|bytes| bytes > 0) {
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer =
                        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret";
                    secure.write_all(answer.as_bytes()).unwrap();
                    secure.conn.send_close_notify();
                    let _ = secure.flush();
                }
            }
        });
        Self {
            port,
            ca_file,
            served,
        }
    }
}

async fn sent(config: &HttpConfig) -> Outcome {
    let bench = bench().await;
    let running = start(sending(&bench, config, |_| {}));
    let mut task = Task::new("x");
    task.reply_to = Some("answers".to_owned());
    submit(&bench, task).await;
    let outcome = told(&bench).await;
    running.stop().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_believed_if_a_known_authority_vouches_for_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let service = Secure::start(folder.path());
    let with_authority = |host: &str| HttpConfig {
        ca_file: Some(service.ca_file.clone()),
        ..to(format!("https://{host}:{}/", service.port))
    };
    let known = with_authority("localhost");
    let outcome = sent(&known).await;
    assert!(
        matches!(&outcome, Outcome::Done(it) if it.payload == "secret"),
        "{outcome:?}"
    );

    let (_, error) = dead(sent(&with_authority("127.0.0.1")).await);
    assert!(error.contains("not valid for name"), "{error}");
}

#[test]
fn without_authorities_of_its_own_a_handler_trusts_those_of_the_system() {
    let place = Place::embedded();
    let service = Secure::start(place.folder.path());
    let file = place.path("pumasi.toml");
    let url = format!("https://localhost:{}/", service.port);
    let text = format!("[[worker.handlers]]\nhttp = {{ url = {url:?} }}\n");
    std::fs::write(&file, text).unwrap();
    // The variable is where OpenSSL and rustls look for the system's authorities.
    let other = place.path("other.pem");
    let stranger = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let stranger = stranger.self_signed(&KeyPair::generate().unwrap()).unwrap();
    std::fs::write(&other, stranger.pem()).unwrap();
    for system in [&other, &service.ca_file] {
        let settings = [
            ("SSL_CERT_FILE", system.to_str().unwrap()),
            ("PUMASI__WORKER__RETRY__ATTEMPTS_MAX", "1"),
        ];
        let mut worker = Service::start(place.command(&settings).arg("--config").arg(&file));
        let _ = probes(&worker);
        place.submit(1);
        let is_served = system == &service.ca_file;
        until("the task's end", || match is_served {
            true => service.served.load(Ordering::SeqCst) == 1,
            false => place.ready("tasks.dead") == 1,
        });
        worker.terminate();
        assert_eq!(worker.wait(), Some(0));
        assert_eq!(place.ready("tasks"), 0);
        assert_eq!(place.ready("tasks.dead"), 1, "that of the first worker");
        assert_eq!(
            service.served.load(Ordering::SeqCst),
            usize::from(is_served)
        );
    }
}

#[test]
fn certificates_that_cannot_be_read_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (file, expected) in [
        (folder.path().join("none.pem"), "cannot be read"),
        (empty, "holds no certificate"),
    ] {
        let config = HttpConfig {
            ca_file: Some(file),
            ..to("https://localhost/?key=hunter2")
        };
        let error = Http::new(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
