//! leveret from the outside: as a library, and as a program.

mod library;
