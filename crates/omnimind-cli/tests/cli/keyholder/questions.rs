//! What those who ask are told, and what they are not: influence, sums and déjà vu of what is sealed.

use serde_json::Value;

use super::{EMBEDDINGS, Serving, crashed, nearly_the_first, settings, write_rows};
use crate::sandbox::{Sandbox, assert_seen, npy};

fn length(value: &Value) -> usize {
    value.as_array().unwrap().len()
}

#[test]
fn what_crashed_is_felt_and_never_shown() {
    // R20, R21, R23, R26
    let sandbox = crashed(3);
    let serving = Serving::of(&sandbox);
    sandbox.model("model.safetensors");
    let fine = "consolidate model.safetensors --context trainer --signature embeddings.npy --row 7";
    assert!(sandbox.run(fine).status.success());
    assert_seen!(
        "what_crashed_is_felt",
        sandbox,
        sandbox.see_all(&[
            "influence --vector embeddings.npy --row 1",
            "influence --vector embeddings.npy --row 1 --json",
            "influence --vector embeddings.npy --row 12",
            "influence --vector embeddings.npy --row 1 --all",
            "influence --vector embeddings.npy --row 1 --all --json",
            "deja-vu --context agent --vector embeddings.npy --row 1",
            "deja-vu --context trainer --vector embeddings.npy --row 1 -k 1 --json",
            "deja-vu --context agent --vector embeddings.npy --row 1 --layer unconscious --type agent",
            "deja-vu --context agent --vector embeddings.npy --row 1 --layer preconscious",
            "keyholder status",
            "keyholder status --json",
            "keyholder audit",
            "keyholder audit --json",
        ])
    );
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_budget_that_is_used_up_is_said_in_the_answer_and_answered_with_four_where_nothing_else_is_said() {
    // R21
    let sandbox = crashed(2);
    settings(
        &sandbox,
        "[keyholder.budget]\nprice_of_silence = 1\nprice_of_level = 4\nprice_of_sum = 4\n\
         memory = { capacity = 8, per_day = 1 }\neveryone = { capacity = 4, per_day = 1 }\n",
    );
    write_rows(&sandbox, "near.npy", &(0..9).map(nearly_the_first).collect::<Vec<_>>());
    let _serving = Serving::of(&sandbox);
    let ask = |row| format!("influence --vector near.npy --row {row}");
    for row in 0..2 {
        let answer = sandbox.json(&ask(row));
        assert_eq!((&answer["level"], &answer["silent"]), (&"strong".into(), &1.into()), "{answer}");
    }
    // Of the memory that it resembles nothing is said any more, of the other one still.
    assert_eq!(sandbox.fail(&ask(2)).0, 0);
    let answer = sandbox.json(&ask(3));
    assert_eq!(
        (length(&answer["felt"]), &answer["silent"], length(&answer["unanswered"])),
        (0, &1.into(), 1)
    );
    // What was said once is said again.
    assert_eq!(sandbox.json(&ask(0))["level"], "strong");
    assert_eq!(sandbox.fail(&ask(4)).0, 0);
    let mut seen = sandbox.see_all(&[&ask(5), &format!("{} --json", ask(5))]);
    assert_eq!(sandbox.fail(&ask(6)).0, 4);
    seen += &sandbox.see_all(&[
        "deja-vu --context agent --vector near.npy --row 5",
        "influence --all --vector near.npy --row 0",
        "influence --all --vector near.npy --row 0",
        "influence --all --vector near.npy --row 1",
        "keyholder status",
    ]);
    assert_seen!("a_budget_that_is_used_up", sandbox, seen);
    assert_eq!(sandbox.json("keyholder status")["memories_over_budget"], 2);
}

#[test]
fn who_asked_too_much_about_whatever_waits() {
    let sandbox = crashed(1);
    settings(
        &sandbox,
        "[keyholder]\nmost_signatures = 1\n[keyholder.budget]\nprice_of_level = 4\nprice_of_sum = 4\n\
         caller = { capacity = 4, per_day = 1 }\n",
    );
    write_rows(&sandbox, "near.npy", &(0..2).map(nearly_the_first).collect::<Vec<_>>());
    let _serving = Serving::of(&sandbox);
    assert_eq!(sandbox.json("influence --vector near.npy --row 0")["level"], "strong");
    let (code, said) = sandbox.fail("influence --vector near.npy --row 1");
    assert!(code == 4 && said.contains("asked too much; ask again in"), "{code} {said}");
}

#[test]
fn without_a_keyholder_influence_says_how_to_start_it_and_deja_vu_goes_on_without() {
    let sandbox = crashed(1);
    sandbox.model("model.safetensors");
    let fine = "consolidate model.safetensors --context agent --signature embeddings.npy --row 0";
    assert!(sandbox.run(fine).status.success());
    let influence = "influence --vector embeddings.npy --row 0";
    let deja_vu = "deja-vu --context agent --vector embeddings.npy --row 0";
    let without = |sandbox: &Sandbox, reason: &str| {
        for line in [influence, "influence --all --vector embeddings.npy --row 0", "keyholder status"] {
            let (code, said) = sandbox.fail(line);
            assert!(code == 1 && said.contains("omnimind keyholder serve"), "{line}: {code} {said}");
            assert!(said.contains("keyholder.sock") && said.contains(reason), "{line}: {said}");
        }
        assert_eq!(length(&sandbox.json(deja_vu)["memories"]), 1);
    };
    without(&sandbox, "there is no such socket");
    // Nobody is expected in the usual place.
    assert_eq!(sandbox.fail(deja_vu), (0, String::new()));
    let expected =
        sandbox.command().args(deja_vu.split(' ')).env("OMNIMIND_UNCONSCIOUS_SOCKET", "own.sock").output();
    let expected = String::from_utf8(expected.unwrap().stderr).unwrap();
    assert!(expected.contains("note: what is sealed does not take part") && expected.contains("own.sock"));

    let serving = Serving::of(&sandbox);
    assert_eq!(length(&sandbox.json(deja_vu)["memories"]), 2);
    assert_eq!(serving.stop(), Some(0));
    without(&sandbox, "there is no such socket");

    // One that was killed leaves its socket, which is no obstacle to the next.
    Serving::of(&sandbox).kill();
    without(&sandbox, "nobody listens at it any more");
    assert!(sandbox.fail(deja_vu).1.contains("note: what is sealed does not take part"));
    let _again = Serving::of(&sandbox);
    assert_eq!(sandbox.json(influence)["level"], "strong");
}

#[test]
fn a_question_that_makes_no_sense_is_refused_in_words() {
    // R17
    let sandbox = crashed(1);
    let vector = |name: &str, numbers: &[f32]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        sandbox.write(name, npy("<f4", &format!("({},)", numbers.len()), &bytes));
    };
    let mut nan = EMBEDDINGS[0].clone();
    nan[3] = f32::NAN;
    vector("nan.npy", &nan);
    vector("zero.npy", &[0.0; 384]);
    vector("short.npy", &[1.0; 8]);
    let _serving = Serving::of(&sandbox);
    for (options, code, words) in [
        ("--vector nan.npy", 1, "coordinate 3 of the vector is NaN"),
        ("--vector nan.npy --all", 1, "coordinate 3 of the vector is NaN"),
        ("--vector zero.npy", 1, "no direction"),
        ("--vector short.npy", 1, "signatures of [384]"),
        ("--vector short.npy --all", 3, "signature of 8 dimensions"),
        ("--vector embeddings.npy", 2, "choose one with --row"),
        ("--vector embeddings.npy --row 20", 2, "has 20 rows"),
        ("--vector absent.npy", 1, "absent.npy"),
        ("--vector crash-0.safetensors", 1, "crash-0.safetensors"),
        ("--vector embeddings.npy --row 0 --store nowhere", 3, "there is no store"),
        ("--row 0", 2, "--vector"),
    ] {
        let (ended, said) = sandbox.fail(&format!("influence {options}"));
        assert!(ended == code && said.contains(words), "{options}: {ended} {said}");
    }
}

#[test]
fn where_nothing_is_sealed_nothing_is_felt() {
    let sandbox = crashed(1);
    let hash = &super::hashes(&sandbox)[0];
    assert!(sandbox.run(&format!("forget {hash}")).status.success());
    let _serving = Serving::of(&sandbox);
    let seen = sandbox.see_all(&[
        "influence --vector embeddings.npy --row 0",
        "influence --vector embeddings.npy --row 0 --all",
        "keyholder status",
    ]);
    assert_seen!("where_nothing_is_sealed", sandbox, seen);
}
