//! Memory goes and its address stays (R4), whatever others do with the memory meanwhile.

use std::sync::Arc;

use end_to_end::context;
use end_to_end::stand_in;
use end_to_end::weights::{Kind, elements, rel_l2_of};
use gpu_probe::{Allocation, DeviceMemory, Error};
use omnimind_memory::{Consolidator, DType, GroupState, PooledTensor};

use crate::{card, check_nothing_leaked, is_small, used_bytes};

const MIB: u64 = 1 << 20;

fn sizes() -> Vec<u64> {
    let sizes: &[u64] =
        if is_small() { &[1, 2 * MIB, 3 * MIB + 5] } else { &[1, 2 * MIB, 3 * MIB + 5, 1 << 30] };
    sizes.to_vec()
}

fn ends(gpu: &dyn DeviceMemory, held: &Allocation, byte: Option<u8>) {
    for at in [0, held.bytes() - 1] {
        match byte {
            Some(byte) => gpu.write(held, at, &[byte]).unwrap(),
            None => assert!(matches!(gpu.read(held, at, &mut [0]), Err(Error::Vacant { .. }))),
        }
    }
}

#[test]
fn an_address_stays_while_its_memory_is_somebody_else_s() {
    let Some(gpu) = card() else { return };
    let before = used_bytes(&**gpu);
    let anchored: Vec<_> =
        sizes().into_iter().map(|bytes| gpu.allocate_anchored(0, bytes).unwrap()).collect();
    let addresses: Vec<u64> = anchored.iter().map(Allocation::address).collect();
    let taken = used_bytes(&**gpu) - before;
    for round in 0..if is_small() { 2 } else { 10 } {
        for held in &anchored {
            ends(&**gpu, held, Some(round));
        }
        let given: u64 = anchored.iter().map(|held| gpu.vacate(held).unwrap()).sum();
        check_nothing_leaked(&**gpu, before);
        assert!(given >= sizes().iter().sum());
        if stand_in::is_here() {
            assert_eq!(given, taken);
        }
        for held in &anchored {
            ends(&**gpu, held, None);
        }

        // Others come and go, and one stays.
        let others: Vec<_> = sizes().into_iter().map(|bytes| gpu.allocate(0, bytes).unwrap()).collect();
        for held in &others {
            ends(&**gpu, held, Some(0xff));
        }
        let mut others = others.into_iter();
        let stays = others.next().unwrap();
        others.for_each(|held| assert!(gpu.free(held).is_ok()));

        for held in &anchored {
            gpu.occupy(held).unwrap();
            gpu.occupy(held).unwrap();
            ends(&**gpu, held, Some(round));
        }
        assert_eq!(anchored.iter().map(Allocation::address).collect::<Vec<_>>(), addresses);
        gpu.free(stays).unwrap();
    }
    for held in anchored {
        gpu.free(held).unwrap();
    }
    check_nothing_leaked(&**gpu, before);
}

#[test]
fn groups_leave_the_card_and_come_back_to_their_addresses() {
    let Some(gpu) = card() else { return };
    let dir = tempfile::tempdir().unwrap();
    let before = used_bytes(&**gpu);
    let consolidator = Arc::new(Consolidator::builder().store(dir.path()).gpu(gpu.clone()).build().unwrap());
    let pool = consolidator.pool();
    let columns = if is_small() { 8_000 } else { 8_000_000 };
    let groups = ["weights", "cache"];
    let tensors: Vec<(PooledTensor, Vec<u8>)> = (1..)
        .zip(groups)
        .map(|(seed, tag)| {
            let bytes = elements(DType::BF16, Kind::Normal, 4 * columns, seed);
            let tensor = pool.allocate(tag, "w", DType::BF16, [4, columns]).unwrap();
            pool.write(&tensor, 0, &bytes).unwrap();
            (tensor, bytes)
        })
        .collect();
    let live = used_bytes(&**gpu);
    for _ in 0..if is_small() { 1 } else { 5 } {
        for (tag, paused) in pool.pause_all(&context("server")) {
            let paused = paused.unwrap_or_else(|error| panic!("{tag}: {error}"));
            assert!(paused.still_held.is_empty() && paused.freed_bytes >= 8 * columns as u64, "{paused:?}");
        }
        assert!(used_bytes(&**gpu) < live);
        let other = gpu.allocate(0, 8 * columns as u64).unwrap();
        gpu.write(&other, 0, &vec![0xff; 8 * columns]).unwrap();
        gpu.free(other).unwrap();
        for (tag, resumed) in pool.resume_all(&context("server")) {
            resumed.unwrap_or_else(|error| panic!("{tag}: {error}"));
        }
        check_nothing_leaked(&**gpu, live);
        let status = pool.status();
        for (tensor, original) in &tensors {
            let group = status.iter().find(|group| group.tag == tensor.tag).unwrap();
            assert_eq!((&group.state, &group.tensors[0]), (&GroupState::Live, tensor));
            let mut bytes = vec![0; original.len()];
            pool.read(tensor, 0, &mut bytes).unwrap();
            let error = rel_l2_of(DType::BF16, original, &bytes);
            assert!(error > 0.0 && error <= 0.006, "{}: {error}", tensor.tag);
        }
    }
    drop((pool, consolidator));
    check_nothing_leaked(&**gpu, before);
}
