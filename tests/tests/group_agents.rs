//! Group "agents": does what agents leave behind add up in the store instead of on the card? Each agent's context grows turn by turn,
//! as a cache of keys and values does; what it does not attend to may leave the card. The tests run one after another, in the order
//! of their names, on one store, and each finds what those before it left.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{convert::Infallible, sync::Arc};

use end_to_end::{
    context,
    groups::{activations, card, held_bytes, kept_directory, leave_room},
    rel_l2,
};
use omnimind_memory::{
    Allocation, Consolidator, ContentHash, DType, DeviceMemory, Filter, IdleId, IdleState, Item, NamedTensor,
    Ran, Taken,
};
use serde_json::Value;
use tempfile::TempDir;

const CARD_BYTES: u64 = 64 << 20;
/// Names the store that all tests of the group share.
const STORE: &str = "OMNIMIND_AGENTS_STORE";
const KIND: &str = "turn of an agent";
const TURNS: usize = 10;
/// Keys and values, heads, and dimensions of each.
const PER_TOKEN: [usize; 3] = [2, 8, 64];
/// An agent keeps so much of its context on the card, and no more.
const ATTENDED_BYTES: u64 = 2 << 20;
/// What is promised where nothing else is said.
const DEFAULT_REL_L2: f64 = 0.006;

/// Tokens of a turn: each is longer than the one before.
fn tokens(turn: usize) -> usize {
    48 + 16 * turn
}

fn turn_bytes(turn: usize) -> u64 {
    4 * (tokens(turn) * PER_TOKEN.iter().product::<usize>()) as u64
}

fn contents(agent: u64, turn: usize) -> Vec<u8> {
    activations(1000 * agent + turn as u64, turn_bytes(turn) as usize / 4)
}

struct Agent {
    number: u64,
    gpu: Arc<dyn DeviceMemory>,
    consolidator: Consolidator,
    /// What was on the card before it spoke.
    before_bytes: u64,
    turns: Vec<IdleId>,
    _own: Option<TempDir>,
}

impl Agent {
    fn new(number: u64) -> Self {
        let (dir, own) = kept_directory(STORE);
        let gpu = card(CARD_BYTES);
        let consolidator = Consolidator::builder().store(dir.join("store")).gpu(gpu.clone()).build().unwrap();
        let before_bytes = held_bytes(&*gpu);
        Self { number, gpu, consolidator, before_bytes, turns: Vec::new(), _own: own }
    }

    /// One more turn on the card. If the card is full, older ones leave it.
    fn speaks(&mut self) {
        let turn = self.turns.len();
        let allocate = || self.gpu.allocate(0, turn_bytes(turn));
        let rescued =
            self.consolidator.with_rescue(allocate, || Err::<Infallible, _>("an agent needs the card"));
        let Ok(Ran::OnDevice(allocation)) = rescued.value else { panic!("{:?}", rescued.relief.reasons) };
        self.gpu.write(&allocation, 0, &contents(self.number, turn)).unwrap();
        let shape = [PER_TOKEN[0], PER_TOKEN[1], tokens(turn), PER_TOKEN[2]];
        let mut item = Item::new(KIND, vec![NamedTensor::device("kv", DType::F32, shape, allocation)]);
        item.metadata.insert("agent".to_owned(), self.number.into());
        item.metadata.insert("turn".to_owned(), turn.into());
        self.turns.push(self.consolidator.idle(item, &self.context()).unwrap());
    }

    /// What of its context is on the card.
    fn attended_bytes(&self) -> u64 {
        held_bytes(&*self.gpu) - self.before_bytes
    }

    /// Lets what is too much of its context leave the card.
    fn forgets_for_now(&self) {
        let too_much = self.attended_bytes().saturating_sub(ATTENDED_BYTES);
        let relief = self.consolidator.consolidate_idle(too_much);
        assert!(relief.failed.is_empty() && relief.released_bytes() >= too_much, "{:?}", relief.reasons);
    }

    /// Brings back every turn, wherever it is, in the order in which it was spoken; and leaves nothing on the card.
    fn recalls_everything(&mut self) {
        for (turn, id) in std::mem::take(&mut self.turns).into_iter().enumerate() {
            let (allocation, bound) = match self.consolidator.take(id) {
                Taken::Item(mut item) => {
                    let omnimind_memory::TensorData::Device(allocation) = item.tensors.remove(0).data else {
                        panic!("turn {turn} left the card by itself")
                    };
                    (allocation, 0.0)
                }
                Taken::Consolidated(hash) => (self.brings_back(&hash), DEFAULT_REL_L2),
                Taken::Unknown => panic!("turn {turn} is lost"),
            };
            let mut bytes = vec![0; allocation.bytes() as usize];
            self.gpu.read(&allocation, 0, &mut bytes).unwrap();
            let error = rel_l2(DType::F32, &contents(self.number, turn), &bytes);
            assert!(error <= bound, "turn {turn}: {error}");
            self.gpu.free(allocation).unwrap();
        }
        assert_eq!(self.attended_bytes(), 0);
    }

    fn brings_back(&self, hash: &ContentHash) -> Allocation {
        let mut back = self.consolidator.reactivate_on_device(hash, &self.context()).unwrap();
        back.tensors.remove(0).allocation
    }

    /// Consolidates what it still has on the card.
    fn goes(self) {
        let relief = self.consolidator.consolidate_idle(u64::MAX);
        assert!(relief.failed.is_empty(), "{:?}", relief.reasons);
        assert_eq!(self.attended_bytes(), 0, "the card is as it was before this agent");
        let all = self.consolidator.idle_items();
        assert!(all.iter().all(|item| matches!(item.state, IdleState::Consolidated(_))), "{all:?}");
    }

    /// What agents said before this one, in this run or an earlier one: how many turns, each of them still what it was.
    fn hears_what_was_said(&self) -> usize {
        let filter = Filter { kind: Some(KIND.to_owned()), ..Filter::default() };
        let memories = self.consolidator.store().list(&filter).unwrap();
        for summary in &memories {
            let back = self.consolidator.reactivate(&summary.content_hash, &self.context()).unwrap();
            let number = |key: &str| back.memory.metadata.get(key).and_then(Value::as_u64).unwrap();
            let said = contents(number("agent"), number("turn") as usize);
            let error = rel_l2(DType::F32, &said, &back.tensors[0].bytes);
            assert!(error <= DEFAULT_REL_L2, "{}: {error}", summary.content_hash);
        }
        memories.len()
    }

    fn context(&self) -> omnimind_memory::ProcessContext {
        context(&format!("agent {}", self.number))
    }
}

#[test]
fn a_first_agent_keeps_no_more_on_the_card_than_it_attends_to() {
    // R4, R46
    let mut agent = Agent::new(1);
    let said: u64 = (0..TURNS).map(turn_bytes).sum();
    assert!(said > 2 * ATTENDED_BYTES);
    for _ in 0..TURNS {
        agent.speaks();
        agent.forgets_for_now();
        assert!(agent.attended_bytes() <= ATTENDED_BYTES);
    }
    agent.recalls_everything();
}

#[test]
fn b_second_agent_finds_all_that_was_said_before_and_adds_to_it() {
    // R5, R10
    let mut agent = Agent::new(2);
    let before = agent.hears_what_was_said();
    let own = agent.consolidator.traced_by(&agent.context()).unwrap().len();
    assert_eq!(own, before, "hearing leaves a trace");
    (0..TURNS).for_each(|_| agent.speaks());
    let (store, context) = (agent.consolidator.store().clone(), agent.context());
    agent.goes();
    let filter = Filter { kind: Some(KIND.to_owned()), ..Filter::default() };
    let memories = store.list(&filter).unwrap();
    let own = memories.iter().filter(|memory| memory.context == context.as_str());
    assert_eq!(own.count(), TURNS, "each turn once, however often this ran");
}

#[test]
fn c_third_agent_whose_context_is_in_the_way_makes_room() {
    // R30
    let mut agent = Agent::new(3);
    if agent.gpu.source() == "cuda" {
        println!("a real card is not filled for this: skipped");
        return;
    }
    let said: u64 = (0..TURNS).map(turn_bytes).sum();
    let rest = leave_room(&*agent.gpu, said + said / 4);
    (0..TURNS).for_each(|_| agent.speaks());
    let allocate = || agent.gpu.allocate(0, said / 2);
    let rescued = agent.consolidator.with_rescue(allocate, || Ok::<_, Infallible>(()));
    let Ok(Ran::OnDevice(model)) = rescued.value else { panic!("{:?}", rescued.relief.reasons) };
    assert!(rescued.relief.released_bytes() >= said / 4, "{:?}", rescued.relief.reasons);
    agent.gpu.free(model).unwrap();
    if let Some(held) = rest {
        agent.gpu.free(held).unwrap();
    }
    agent.recalls_everything();
}

#[test]
fn d_last_agent_finds_the_card_empty_and_the_store_whole() {
    // R10, R11
    let agent = Agent::new(4);
    agent.hears_what_was_said();
    let report = agent.consolidator.store().verify(false).unwrap();
    assert!(report.damaged_objects.is_empty() && report.damaged_memories.is_empty(), "{report:?}");
    agent.goes();
}
