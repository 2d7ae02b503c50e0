use ssh2_config::{ParseRule, SshConfig};
use std::{env, fs::File, io::BufReader};

fn main() {
    let words: Vec<String> = env::args().collect();
    let mut file = BufReader::new(File::open(&words[2]).unwrap());
    let rules = ParseRule::ALLOW_UNKNOWN_FIELDS | ParseRule::ALLOW_UNSUPPORTED_FIELDS;
    let config = SshConfig::default().parse(&mut file, rules).unwrap();
    for name in &words[3..] {
        let fields = config.query(name).unsupported_fields;
        println!("{}", fields.get("proxycommand").map_or(String::new(), |words| words.join(" ")));
    }
}
