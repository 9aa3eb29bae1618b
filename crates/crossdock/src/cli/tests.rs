use super::*;
use std::path::PathBuf;

fn serve(arguments: &[&str]) -> Result<Options, Failed> {
    let all = ["crossdock"].iter().chain(arguments).map(OsString::from).collect();
    match parse(all)?.command {
        Command::Serve(options) => Ok(*options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_command_it_serves() {
    assert_eq!(serve(&[]).unwrap().data, PathBuf::from("crossdock-data"));
    assert_eq!(serve(&["--data", "x"]).unwrap().data, PathBuf::from("x"));
    assert_eq!(serve(&["serve", "--data=x"]).unwrap().data, PathBuf::from("x"));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let file = std::env::temp_dir().join(format!("crossdock-cli-{}", std::process::id()));
    let named = file.display().to_string();
    std::fs::write(&file, "data = \"f\"\nworkers = 3\nlisten = [\"admin=127.0.0.1:1\"]\n").unwrap();
    let options = serve(&["--config", &named, "--workers", "2"]).unwrap();
    assert_eq!((options.data, options.workers), (PathBuf::from("f"), 2));
    assert_eq!(options.listen, ["admin=127.0.0.1:1".parse().unwrap()]);
    let options = serve(&["--config", &named, "--listen=admin=off"]).unwrap();
    assert_eq!(options.listen, ["admin=off".parse().unwrap()]);
    let options = serve(&["--config", &named, "--listen=kafka=off"]).unwrap();
    let both = ["admin=127.0.0.1:1".parse().unwrap(), "kafka=off".parse().unwrap()];
    assert_eq!(options.listen, both);
    std::fs::write(&file, "workers = 1000\n").unwrap();
    let failed = serve(&["--config", &named]).unwrap_err();
    assert!(failed.why.starts_with(&format!("{named}: invalid value '1000'")), "{}", failed.why);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_bad_option_is_told_in_one_line() {
    for (arguments, told) in [
        (&["--wrokers", "1"][..], "unexpected argument '--wrokers' found"),
        (&["--workers", "x"], "invalid value 'x' for '--workers <COUNT>'"),
        (&["--listen", "admin=1"], "invalid value 'admin=1' for '--listen <WIRE=ADDR:PORT>'"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["--config", "/nonexistent"], "cannot read the configuration file /nonexistent"),
    ] {
        let failed = serve(arguments).unwrap_err();
        assert_eq!(failed.code, 2);
        assert!(failed.why.starts_with(told), "{}", failed.why);
        assert!(!failed.why.contains('\n'), "{}", failed.why);
    }
}
