# A program of several files: compiled, archived, linked, run, taken apart; then made again by make -j2.
set -e
mkdir -p src; for i in 1 2 3 4 5 6; do printf '#include "all.h"\nint f%d(int x) { return x * %d + 1; }\n' $i $i >src/f$i.c; done
{ for i in 1 2 3 4 5 6; do echo "int f$i(int);"; done; } >src/all.h
cat >src/main.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include "all.h"
int main(int argc, char **argv) { int x = argc > 1 ? atoi(argv[1]) : 1; printf("%d %.3f\n", f6(f5(f4(f3(f2(f1(x)))))), sqrt(x)); return x & 7; }
C
cat >Makefile <<'M'
objects := $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c))
all: prog
prog: $(objects)
	gcc -o $@ $^ -lm
obj/%.o: src/%.c src/all.h | obj
	gcc -O1 -Wall -c -o $@ $<
obj: ; mkdir $@
clean: ; rm -rf obj prog
.PHONY: all clean
M
gcc -O2 -Wall -o whole src/*.c -lm; ./whole 5 || echo "status $?"
gcc -c -fPIC src/f?.c; ar rcs liball.a f?.o; nm liball.a | grep ' T ' | tail -n 2; gcc -shared -o libshared.so f?.o; gcc -Isrc -o dyn src/main.c -L. -lshared -lm -Wl,-rpath,"$PWD"; ./dyn 3 || echo "status $?"; gcc -static -o stat src/main.c liball.a -lm; ./stat 2 || echo "status $?"
gcc -S -O1 -o - src/f1.c | grep -c ret; gcc -E src/f1.c | tail -n 1; strip -o stripped whole; ./stripped 5 || cmp -s whole stripped || echo stripped; objdump -d f1.o | tail -n 1 | cut -f3; echo 'int main(void) { return nothing; }' | gcc -x c - 2>&1 | grep -c error; gcc -pipe -Isrc -x c -c -o piped.o - <src/f2.c; cmp piped.o f2.o && echo piped
make -j2 | sort; ./prog 4 || echo "status $?"; make | sort; touch src/f3.c; make -j2 | sort; make -j2 clean; make no-such 2>&1 || echo "make $?"
