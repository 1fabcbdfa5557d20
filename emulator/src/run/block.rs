//! Blocks, one after another, and the barriers of their warps.

use super::machine::{Machine, Mistake};
use super::warp::{State, Warp};
use super::{LANES, lanes_of};
use crate::decode::{Join, Operation, Reduction};
use crate::fault::Fault;

/// Runs all blocks of a launch.
pub(crate) fn run(machine: &mut Machine<'_>) -> Result<(), Fault> {
    let threads = machine.grid.threads;
    let mut warps: Vec<Warp> =
        (0..threads.div_ceil(LANES)).map(|index| Warp::new(machine.kernel, index, threads)).collect();
    for block in 0..machine.grid.blocks {
        machine.block = block;
        machine.shared.start_block();
        for warp in &mut warps {
            warp.start(machine);
        }
        run_block(machine, &mut warps)?;
    }
    Ok(())
}

fn run_block(machine: &mut Machine<'_>, warps: &mut [Warp]) -> Result<(), Fault> {
    loop {
        for warp in warps.iter_mut().filter(|warp| warp.state == State::Running) {
            warp.run(machine)?;
        }
        if warps.iter().any(|warp| warp.state == State::Running) {
            continue;
        }
        if warps.iter().all(|warp| warp.state == State::Ended) {
            return Ok(());
        }
        barrier(machine, warps)?;
    }
}

/// No warp can go on, and some wait at a barrier: all threads must.
fn barrier(machine: &mut Machine<'_>, warps: &mut [Warp]) -> Result<(), Fault> {
    let at = |warp: &Warp, lane: usize| match machine.kernel.code[warp.position[lane] as usize].operation {
        Operation::Barrier { id, aligned, reduction } => Some((id, aligned, reduction)),
        _ => None,
    };
    let waiting = warps
        .iter()
        .find(|warp| warp.waiting != 0)
        .map(|warp| (warp, warp.waiting.trailing_zeros() as usize));
    let Some((first, first_lane)) = waiting else { return Ok(()) };
    let Some((first_id, ..)) = at(first, first_lane) else { return Ok(()) };
    let mut holding = 0;
    let mut threads = 0;
    for warp in warps.iter() {
        let mut positions = lanes_of(warp.waiting).map(|lane| warp.position[lane]);
        let together = positions.next().is_none_or(|one| positions.all(|other| other == one));
        for lane in lanes_of(warp.lanes) {
            let reached = if warp.waiting >> lane & 1 == 1 { at(warp, lane) } else { None };
            match reached {
                Some((id, aligned, reduction)) if id == first_id && (together || !aligned) => {
                    threads += 1;
                    if let Reduction::Count { of, .. } | Reduction::Join { of, .. } = reduction {
                        holding += u32::from(warp.holds(of) >> lane & 1 == 1);
                    }
                }
                // Lanes of one warp at two barriers of the same number: each is missing at the other.
                Some((id, ..)) if id == first_id => {
                    let here = lanes_of(warp.waiting).next().unwrap_or(lane);
                    let elsewhere =
                        lanes_of(warp.waiting).find(|&other| warp.position[other] != warp.position[here]);
                    let missing = warp.thread(elsewhere.unwrap_or(lane));
                    let mistake = Mistake::BarrierNotReachedByAll { missing };
                    return Err(machine.fault(warp.position[here], warp.thread(here), mistake));
                }
                _ => {
                    let mistake = Mistake::BarrierNotReachedByAll { missing: warp.thread(lane) };
                    return Err(machine.fault(first.position[first_lane], first.thread(first_lane), mistake));
                }
            }
        }
    }
    for warp in warps.iter_mut() {
        for lane in lanes_of(warp.lanes) {
            let operation = &machine.kernel.code[warp.position[lane] as usize].operation;
            if let Operation::Barrier { reduction, .. } = operation {
                match reduction {
                    Reduction::None => {}
                    Reduction::Count { to, .. } => warp.set_all(*to, 1 << lane, u64::from(holding)),
                    Reduction::Join { to, join, .. } => {
                        let outcome = if *join == Join::And { holding == threads } else { holding > 0 };
                        warp.set_predicate(*to, 1 << lane, u32::from(outcome) << lane);
                    }
                }
            }
            warp.position[lane] += 1;
        }
        warp.waiting = 0;
        warp.state = State::Running;
    }
    machine.shared.barrier();
    Ok(())
}
