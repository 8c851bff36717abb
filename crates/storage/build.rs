//! Migrations are embedded by a macro, which cargo cannot see: rebuild when one is added or edited.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
