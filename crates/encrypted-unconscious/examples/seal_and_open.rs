//! What the two sides do: one seals with a public key, the other opens with the identity.
//!
//! `cargo run -p encrypted-unconscious --example seal_and_open`

use std::io::Read;

use encrypted_unconscious::{BundleHeader, Identity, Recipient, Sealer, TensorEntry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("keyholder.key");

    // The keyholder, once.
    let public = Identity::generate().write_pair(&key)?;
    println!("public key: {}", Recipient::load(&public)?);

    // The process in which something crashed. It has the public key, and no way back.
    let header = BundleHeader {
        kind: "model".into(),
        metadata: r#"{"error_type":"CUDA out of memory"}"#.into(),
        signature: Some(vec![0.1, 0.9]),
        tensors: vec![TensorEntry { name: "encoder.weight".into(), original_bytes: 4_000_000 }],
    };
    let mut bundle = Sealer::new(Recipient::load(&public)?).seal_bundle(Vec::new(), &header)?;
    bundle.write_frame(&vec![42; 1_000_000])?;
    let sealed = bundle.finish()?.finish()?;
    println!("sealed: {} bytes", sealed.len());

    if let Err(error) = Identity::generate().open_bundle(&sealed[..]) {
        println!("another key: {error}");
    }

    // The keyholder, when it must be.
    let mut opened = Identity::load(&key)?.open_bundle(&sealed[..])?;
    println!("opened: a {} with {}", opened.header().kind, opened.header().metadata);
    while let Some(mut frame) = opened.next_frame()? {
        let mut bytes = Vec::new();
        frame.read_to_end(&mut bytes)?;
        println!("  {}: a frame of {} bytes", frame.entry().name, bytes.len());
    }
    Ok(())
}
