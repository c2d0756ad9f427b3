//! Embeds the built page. Writes a table of its files into `OUT_DIR`; the table is empty when the page has not been built.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let crate_folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let web = crate_folder.join("../../web");
    let dist = web.join("dist");
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", dist.display());
        collect(&dist, "", &mut files)?;
        files.sort();
    } else {
        // Until the page is built there is only its folder to watch for it.
        println!("cargo::rerun-if-changed={}", web.display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut table = String::from("&[\n");
    for (at, (name, path)) in files.iter().enumerate() {
        // A copy, so that rebuilding the page while the program is compiled takes nothing away from under the compiler.
        let copy = out.join(format!("page_file_{at}"));
        fs::copy(path, &copy)?;
        let _ = writeln!(table, "    ({name:?}, include_bytes!({:?})),", copy.display().to_string());
    }
    table.push_str("]\n");
    fs::write(out.join("page_files.rs"), table)
}

/// Every file below `folder` with its path below `dist`, parts joined by `/`. Source maps stay out.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else if Path::new(&name).extension().is_none_or(|ending| ending != "map") {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}
