//! The live view, drawn into a terminal that is only remembered, from recorded samples.

use std::time::Duration;

use gpu_probe::{
    DeviceInfo, GpuProcess, Growth, MemoryInfo, Mig, MigInstance, Reading, Recorder, Sample, SimulatedGpu,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::Card;
use super::draw::draw;
use super::view::{Flow, View};

const ENTER: f64 = 0.85;
const TOTAL: u64 = 4096 << 20;

fn info(index: u32) -> DeviceInfo {
    let mut info = DeviceInfo::new(index, format!("Recorded GPU {index}"), TOTAL);
    (info.utilisation_percent, info.temperature_celsius) = (Some(93), Some(71));
    (info.power_milliwatts, info.power_limit_milliwatts) = (Some(61_400), Some(75_000));
    (info.pcie_generation, info.pcie_lanes) = (Some(4), Some(16));
    info.pcie_sent_bytes_per_second = Some(312 << 20);
    info.pcie_received_bytes_per_second = Some(1200 << 20);
    info
}

/// Fills, is not there for four seconds, and goes on.
fn history() -> Vec<Sample> {
    let sample = |second: u64| {
        let at = Duration::from_secs(second);
        if (20..24).contains(&second) {
            return Sample::gap(at, "GPU 0 does not answer any more");
        }
        let mut reading = Reading::new(MemoryInfo::new(TOTAL, TOTAL - ((1000 + 40 * second) << 20)));
        reading.utilisation_percent = Some(30 + (second as u32 * 7) % 60);
        Sample::new(at, reading)
    };
    (0..60).map(sample).collect()
}

/// As the driver gives them; who grew is what a recorder saw.
fn processes() -> (Vec<GpuProcess>, Vec<Growth>) {
    let gpu = std::sync::Arc::new(SimulatedGpu::new(TOTAL));
    gpu.add_process(0, 4242, "/usr/bin/python3", 900 << 20).unwrap();
    for pid in 0..20 {
        gpu.add_process(0, 5000 + pid, "worker", u64::from(pid + 1) << 20).unwrap();
    }
    let recorder = Recorder::new(gpu.clone(), 1).unwrap();
    gpu.grow_process(0, 4242, 600 << 20).unwrap();
    recorder.look_closer();
    let mut processes = recorder.processes(0).unwrap();
    processes[0].command_line = Some("python3 train.py --model all-MiniLM-L6-v2 --epochs 3".to_owned());
    (processes, recorder.growth(0))
}

fn recorded() -> View {
    let mut view = View::new(Duration::from_secs(1), ENTER);
    let (processes, growth) = processes();
    let first = Card::of(info(0), &history(), Some(processes), &growth, None, ENTER);
    let mut cut = DeviceInfo::new(1, "Recorded GPU 1", TOTAL);
    let mut instance = MigInstance::new(0);
    instance.profile = Some("1g.10gb".to_owned());
    cut.mig = Some(Mig::new(true, vec![instance]));
    let lost = [Sample::gap(Duration::ZERO, "GPU 1 does not answer any more")];
    let second = Card::of(cut, &lost, None, &[], None, ENTER);
    view.take(vec![first, second], |device| if device == 0 { history() } else { lost.to_vec() });
    view
}

fn terminal(view: &View, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view)).unwrap();
    terminal
}

fn drawn(view: &View, width: u16, height: u16) -> String {
    terminal(view, width, height).backend().to_string()
}

fn press(view: &mut View, code: KeyCode) -> Flow {
    view.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn a_card_is_drawn_into_terminals_of_every_usual_size() {
    // R28, R31, R48
    let view = recorded();
    for (width, height) in [(80, 24), (120, 40), (40, 15)] {
        insta::assert_snapshot!(format!("card_{width}x{height}"), drawn(&view, width, height));
    }
}

#[test]
fn a_card_that_is_lost_says_so_and_another_can_be_chosen() {
    let mut view = recorded();
    assert_eq!(press(&mut view, KeyCode::Right), Flow::GoOn);
    insta::assert_snapshot!("lost_card_80x24", drawn(&view, 80, 24));
    press(&mut view, KeyCode::Tab);
    assert!(drawn(&view, 80, 24).contains("Recorded GPU 0"));
    press(&mut view, KeyCode::Left);
    assert!(drawn(&view, 80, 24).contains("Recorded GPU 1"));
}

#[test]
fn no_terminal_is_too_small_for_it() {
    let mut view = recorded();
    for _ in 0..2 {
        for width in 0..60 {
            for height in 0..30 {
                terminal(&view, width, height);
            }
        }
        press(&mut view, KeyCode::Right);
    }
    assert!(drawn(&View::new(Duration::from_secs(1), ENTER), 30, 2).contains("no card answers"));
    assert!(drawn(&view, 40, 2).contains("VRAM"));
}

#[test]
fn a_pause_holds_what_is_shown_until_it_ends() {
    let mut view = recorded();
    press(&mut view, KeyCode::Char('p'));
    view.take(Vec::new(), |_| Vec::new());
    assert!(drawn(&view, 80, 24).contains("PAUSED 0 Recorded GPU 0"));
    press(&mut view, KeyCode::Char('p'));
    view.take(Vec::new(), |_| Vec::new());
    assert!(drawn(&view, 80, 24).contains("no card"));
}

#[test]
fn it_ends_by_q_escape_and_control_c_and_by_no_other_key() {
    let mut view = recorded();
    for code in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut view, code), Flow::End);
    }
    assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Flow::End);
    for code in [KeyCode::Char('c'), KeyCode::Char('x'), KeyCode::Enter, KeyCode::F(1)] {
        assert_eq!(press(&mut view, code), Flow::GoOn);
    }
}
