//! Writes the golden frames that are missing. It never replaces one: a frame that was once written must stay readable,
//! so a change of the format is a new version in a new folder.

use std::{error::Error, fmt::Write as _, fs};

use end_to_end::{golden_cases, golden_dir};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = golden_dir();
    fs::create_dir_all(&dir)?;
    let mut index = String::new();
    for case in golden_cases() {
        let path = dir.join(format!("{}.frame", case.name));
        if !path.exists() {
            fs::write(&path, case.compress()?.as_bytes())?;
            eprintln!("made {}", path.display());
        }
        let decoded = softhair_compress::Frame::parse(fs::read(&path)?)?.decompress()?;
        writeln!(index, "{}  {}", blake3::hash(&decoded), case.name)?;
    }
    fs::write(dir.join("decoded.b3"), index)?;
    Ok(())
}
