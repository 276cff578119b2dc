//! Says which machine it was compiled for.

fn main() {
    println!("hello from {}", std::env::consts::ARCH);
    println!("a pointer has {} bits", usize::BITS);
}
