//! `memory alert`: a trial goes every way that is configured, to servers that are here, over http and https.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::sandbox::Sandbox;

/// Reads one POST and answers that all is well. What was posted, or `None` if there was no request.
fn answer(mut stream: impl Read + Write) -> Option<String> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
    assert!(head.starts_with("post /hook http/1.1") && head.contains("application/json"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().unwrap();
    let mut body = request.split_off(end);
    while body.len() < length {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "it ended early");
        body.extend_from_slice(&buffer[..read]);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    let _ = stream.flush();
    Some(String::from_utf8(body).unwrap())
}

/// A server for one alert; its port, and what was posted to it.
fn server(
    greet: impl FnOnce(TcpStream) -> Option<String> + Send + 'static,
) -> (u16, JoinHandle<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || greet(listener.accept().unwrap().0)))
}

/// A server over TLS that an authority vouches for, and that authority's certificate.
fn tls_server() -> (u16, JoinHandle<Option<String>>, String) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = Issuer::new(authority, key);
    let server_key = KeyPair::generate().unwrap();
    let vouched = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let vouched = vouched.signed_by(&server_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![vouched.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let (port, posted) = server(move |stream| {
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        answer(StreamOwned::new(connection, stream))
    });
    (port, posted, certificate.pem())
}

fn to(sandbox: &Sandbox, address: &str) {
    sandbox.write("omnimind.toml", format!("[memory.alerts]\nwebhook = \"{address}\"\ntimeout_s = 20\n"));
}

const LINE: &str = "memory alert --config omnimind.toml";

#[test]
fn a_trial_goes_to_an_address_and_to_a_command() {
    let sandbox = Sandbox::new();
    let (port, posted) = server(answer);
    sandbox.write(
        "omnimind.toml",
        format!(
            "[memory.alerts]\nwebhook = \"http://127.0.0.1:{port}/hook\"\ncommand = [\"/bin/sh\", \"-c\", \"cat > alert.json\"]\n"
        ),
    );
    let seen = sandbox.see(LINE);
    assert!(seen.contains("sent by command\nsent by webhook\n") && seen.ends_with("[0]\n"), "{seen}");
    let posted: Value = serde_json::from_str(&posted.join().unwrap().unwrap()).unwrap();
    assert_eq!(
        (&posted["kind"], &posted["recovered"]),
        (&Value::from("trial"), &Value::from(false)),
        "{posted}"
    );
    assert!(posted["text"].as_str().unwrap().contains("a trial"), "{posted}");
    let given = std::fs::read(sandbox.path("alert.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&given).unwrap(), posted);
}

#[test]
fn over_https_whoever_an_authority_vouches_for_is_told_and_nobody_else() {
    let sandbox = Sandbox::new();
    let (port, posted, authority) = tls_server();
    sandbox.write("authority.pem", authority);
    to(&sandbox, &format!("https://localhost:{port}/hook"));
    let trusting = |file: &str| {
        let mut command = sandbox.command();
        command.args(LINE.split_whitespace()).env("SSL_CERT_FILE", sandbox.path(file));
        command.output().unwrap()
    };
    let told = trusting("authority.pem");
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    assert!(posted.join().unwrap().unwrap().contains("\"kind\":\"trial\""));

    // Another server, which that authority knows nothing of.
    let (port, posted, _) = tls_server();
    to(&sandbox, &format!("https://localhost:{port}/hook"));
    let refused = trusting("authority.pem");
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(said.contains("not sent by webhook") && said.contains("certificate"), "{said}");
    assert_eq!(posted.join().unwrap(), None);
}

#[test]
fn what_cannot_be_reached_is_told_and_the_address_with_its_secret_is_not() {
    let sandbox = Sandbox::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    to(&sandbox, &format!("http://127.0.0.1:{port}/secret"));
    let answer = sandbox.json(LINE);
    assert_eq!((&answer["sent"], &answer["failed"][0]["way"]), (&serde_json::json!([]), &"webhook".into()));
    let reason = answer["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("check memory.alerts.webhook") && !reason.contains("secret"), "{reason}");
    assert_eq!(sandbox.run(LINE).status.code(), Some(1));

    to(&sandbox, "example.org/hook");
    let (code, said) = sandbox.fail(LINE);
    assert!(code == 2 && said.contains("memory.alerts.webhook"), "{said}");
    sandbox.write("omnimind.toml", "");
    assert!(sandbox.see(LINE).contains("to the log of the monitor only"));
}
