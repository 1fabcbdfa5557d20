//! The demo from start to end on the simulated GPU: what it promises is what it shows, and it leaves nothing behind.

use std::fs;
use std::path::Path;

use crate::sandbox::Sandbox;

#[test]
fn the_demo_keeps_its_promises_and_cleans_up() {
    // R2, R4, R7, R8, R15, R26, R32
    let sandbox = Sandbox::new();
    let answer = sandbox.json("demo --simulated");
    let float = |pointer: &str| answer.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap();
    assert_eq!(answer["gpu"]["source"], "simulated");
    assert!(
        float("/pressure_before/used_fraction") > 0.85 && answer["pressure_before"]["consolidate"] == true
    );
    assert!(
        float("/pressure_after/used_fraction") <= 0.75 && answer["pressure_after"]["consolidate"] == false
    );
    assert!(float("/comparison/rel_l2_error") > 0.0 && float("/comparison/rel_l2_error") <= 0.006);
    assert_eq!(answer["comparison"]["exact_tensors"], 6);
    assert_eq!(answer["deja_vu"][0]["familiar"], true);
    assert!(answer["refusal"].as_str().unwrap().contains("sealed"));
    assert_eq!(answer["influence"]["felt"][0]["at_least"], 0.5, "the keyholder says roughly how alike it is");
    assert_eq!(answer["influence_elsewhere"]["silent"], 1);
    assert_eq!(answer["groups"][0]["new_memories"], 1, "the same model is stored once");
    assert_eq!(answer["stats"]["layers"]["unconscious"]["total_consolidated"], 1);
    for group in answer["groups"].as_array().unwrap() {
        assert_eq!(group["freed_bytes"], group["original_bytes"], "{group}");
    }
    assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0);
    assert!(!sandbox.path("data").exists());
}

#[test]
fn without_its_data_the_demo_says_where_they_are() {
    let sandbox = Sandbox::new();
    let (code, said) = sandbox.fail("demo --data nowhere");
    assert!(code == 3 && said.contains("--data DIR") && said.contains("nowhere"), "{said}");
    sandbox.write("file", "");
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full").join("x"), "").unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let (code, said) = sandbox.fail(&format!("demo --keep full --data {}", data.display()));
    assert!(code == 2 && said.contains("not empty"), "{said}");
}
