# make, make check, make demo, make bench, make install, make dist, make deb; options: SAN=address,undefined | thread, CC=clang,
# MPI=1|mpich, CUDA=1 | simulated [RACES=1], NCCL=1, CBLAS=1. See CONTRIBUTING.md.
SHELL := /bin/bash
# Make's own rules would be tried for each of the thousand files that do not exist yet: nine seconds before the first compiler.
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

# The architecture: a folder includes itself and what stands left of it (`make check` proves it).
LAYERS := base format dev attn nn data par model train eval probe

CC     := gcc
SAN    :=
comma  := ,
CBLAS  :=
MPI    :=
NCCL   :=
CUDA   :=
RACES  :=
FLAVOUR := $(notdir $(CC))$(if $(CUDA),$(if $(filter simulated,$(CUDA)),-simt$(if $(RACES),-races),-cuda))$(if $(CBLAS),-cblas)$(if $(NCCL),-nccl)$(if \
	$(MPI),-$(MPI:1=openmpi))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
BUILD  := build/$(FLAVOUR)

# CFLAGS, CPPFLAGS and LDFLAGS are the builder's; what kedge cannot do without stands beside them. Debugging information names files
# from here, so that another folder builds the same bytes.
CFLAGS     ?= -O2 -g
KD_FLAGS   := -std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -ffp-contract=off -fno-strict-aliasing \
              -fPIC -fvisibility=hidden -pthread -ffile-prefix-map=$(CURDIR)=.
INEXACT    := $(filter -Ofast -ffast-math -funsafe-math-optimizations -ffp-contract=fast -ffp-contract=on,$(CFLAGS) $(CPPFLAGS))
ifneq ($(INEXACT),)
$(error $(INEXACT): leave it out of CFLAGS: the same seed gives the same bits)
endif
KD_CPP     := -Iinclude -Isrc -D_POSIX_C_SOURCE=200809L
KD_LINK    := -Wl,--as-needed -Wl,-z,relro,-z,now
LDLIBS     := -ljansson -lyaml -lzstd -lxxhash -lpcre2-8 -lutf8proc -lmicrohttpd -lm -pthread
KEDGE_LIBS := -ljansson -lzstd -lxxhash -lpcre2-8 -lutf8proc -lm -pthread
ifneq ($(SAN),)
KD_FLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer
endif

# A file's suffix says the machine.
X86 := $(filter x86_64,$(shell uname -m))
AVX2_FLAGS   := -mavx2 -mfma -mf16c
AVX512_FLAGS := $(AVX2_FLAGS) -mavx512f -mavx512dq -mavx512bw -mavx512vl
ifneq ($(X86),)
KD_CPP += -DKD_X86
endif
machine_flags = $(if $(findstring _avx512,$1),$(AVX512_FLAGS),$(if $(findstring _avx2,$1),$(AVX2_FLAGS)))

SOURCES := $(foreach layer,$(LAYERS),$(wildcard src/$(layer)/*.c))
ifeq ($(X86),)
SOURCES := $(filter-out %_avx2.c %_avx512.c,$(SOURCES))
endif
# OpenBLAS, by its own name: a yardstick for `kedge bench gemm`.
ifneq ($(CBLAS),)
KD_CPP += -DKD_CBLAS $(shell pkg-config --cflags openblas)
LDLIBS += $(shell pkg-config --libs openblas)
else
SOURCES := $(filter-out %_cblas.c,$(SOURCES))
endif
# Open MPI by its package's name, or MPICH.
ifneq ($(MPI),)
MPI_PACKAGE := $(if $(filter mpich,$(MPI)),mpich,ompi-c)
ifneq ($(shell pkg-config --exists $(MPI_PACKAGE) && echo yes),yes)
$(error MPI=$(MPI): pkg-config has no $(MPI_PACKAGE); Debian: $(if $(filter mpich,$(MPI)),mpich libmpich-dev,openmpi-bin libopenmpi-dev))
endif
KD_CPP += $(shell pkg-config --cflags $(MPI_PACKAGE))
LDLIBS += $(shell pkg-config --libs $(MPI_PACKAGE))
KEDGE_LIBS += $(shell pkg-config --libs $(MPI_PACKAGE))
SOURCES := $(filter-out %_no_mpi.c,$(SOURCES))
else
SOURCES := $(filter-out %/comm_mpi.c,$(SOURCES))
endif
CUDA_HOME ?= /usr/local/cuda
# CUDA: *.cu are kernels; *_cuda.c is compiled with CUDA alone, *_no_cuda.c without.
NEED_CUDA := $(filter-out %_no_cuda.c,$(filter %_cuda.c,$(SOURCES)))
ifneq ($(CUDA),)
KD_CPP  += -DKD_CUDA
KERNELS := $(foreach layer,$(LAYERS),$(wildcard src/$(layer)/*.cu))
SOURCES := $(filter-out %_no_cuda.c,$(SOURCES))
else
SOURCES := $(filter-out $(NEED_CUDA),$(SOURCES))
endif
# The toolkit: its compiler, and its runtime as an archive, so that what is built starts on machines without a GPU. cuBLASLt
# is opened when it is needed.
ifeq ($(CUDA),1)
NVCC   := $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc))
CUDART := $(firstword $(wildcard $(foreach d,lib64 lib targets/*-linux/lib,$(CUDA_HOME)/$d/libcudart_static.a)))
ifneq ($(words $(NVCC) $(CUDART) $(wildcard $(CUDA_HOME)/include/cuda_runtime_api.h)),3)
$(error CUDA=1: nvcc, libcudart_static.a or cuda_runtime_api.h is missing under $(CUDA_HOME). Install the CUDA toolkit, 12.5 or newer, \
and say where with CUDA_HOME=)
endif
NVCCFLAGS ?= -O3 -lineinfo
# Nothing that would need C++'s runtime: the static variables are nvcc's own, which may be set twice.
KD_NVCC  := -std=c++17 -fmad=false -Xptxas -v -Xcompiler -fPIC,-fvisibility=hidden,-ffp-contract=off,-Wall,-Wextra \
	-Xcompiler -fno-exceptions,-fno-rtti,-fno-threadsafe-statics
KD_CPP   += -isystem $(CUDA_HOME)/include
KD_LINK  += -Wl,--exclude-libs,libcudart_static.a
CUDA_LIBS := $(CUDART) -lrt -ldl
LDLIBS   += $(CUDA_LIBS)
KEDGE_LIBS += $(CUDA_LIBS)
# Hopper's own instructions are in no other machine's code; newer machines translate the rest from PTX.
gpu_code = $(if $(findstring _sm90,$1),-gencode=arch=compute_90a$(comma)code=sm_90a,$(foreach a,80 90,\
	-gencode=arch=compute_$a$(comma)code=sm_$a) -gencode=arch=compute_90$(comma)code=compute_90)
endif
# Without toolkit and GPU: the host's compiler makes the kernels, and tests/simt, whose headers stand in front of CUDA's, runs them.
ifeq ($(CUDA),simulated)
SIMT     := $(wildcard tests/simt/*.cc)
SOURCES  := $(filter-out %/blas_library_cuda.c,$(SOURCES))
KD_CPP   += -DKD_SIMT -Itests/simt -Itests
KD_CXX   := $(patsubst clang%,clang++%,$(patsubst gcc%,g++%,$(CC)))
KD_SIMT_CXX := -x c++ -std=c++17 $(filter-out -std=% -Wstrict-prototypes,$(KD_FLAGS)) -Wno-unknown-pragmas -Wno-psabi
LDLIBS   += -lstdc++
KEDGE_LIBS += -lstdc++
# RACES=1: every access of a kernel to shared memory is looked at, by the calls that the thread sanitizer would get.
ifneq ($(RACES),)
KD_SIMT_CXX += -DSIMT_RACES
KD_SIMT_RACES := -fsanitize=thread --param tsan-instrument-func-entry-exit=0 --param tsan-distinguish-volatile=0
endif
endif
# NCCL and the CUDA runtime, wherever toolkits, NVIDIA's packages and its wheels (tools/nccl) put them.
NCCL_HOME ?= $(firstword $(patsubst %/include/nccl.h,%,$(wildcard $(addsuffix /include/nccl.h,$(CUDA_HOME) /usr /usr/local))))
ifneq ($(NCCL),)
library    = $(firstword $(wildcard $(foreach d,lib64 lib lib/*-linux-gnu,$1/$d/$2.so $1/$d/$2.so.*)))
NCCL_LIBS := $(call library,$(CUDA_HOME),libcudart) $(call library,$(NCCL_HOME),libnccl)
NCCL_HEADERS := $(wildcard $(CUDA_HOME)/include/cuda_runtime_api.h $(NCCL_HOME)/include/nccl.h)
ifneq ($(words $(NCCL_LIBS) $(NCCL_HEADERS)),4)
$(error NCCL=1: of headers and libraries of the CUDA runtime and NCCL there is: $(NCCL_HEADERS) $(NCCL_LIBS). Install the CUDA \
toolkit and libnccl-dev and say where with CUDA_HOME= and NCCL_HOME=, or type: make NCCL=1 $$(tools/nccl))
endif
KD_CPP += -DKD_NCCL $(patsubst %,-isystem %,$(dir $(NCCL_HEADERS)))
LDLIBS += $(NCCL_LIBS) $(addprefix -Wl$(comma)-rpath$(comma),$(abspath $(dir $(NCCL_LIBS))))
SOURCES := $(filter-out %_no_nccl.c,$(SOURCES))
else
SOURCES := $(filter-out %/comm_nccl.c,$(SOURCES))
endif
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(KERNELS:%=$(BUILD)/%.o) $(SIMT:%.cc=$(BUILD)/%.o)
CLI     := $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/cli/*.c))
# Tests of kernels alone are of builds with CUDA; tests/run leaves them out of others.
ONLY_CUDA := $(addprefix tests/test_cuda_,$(addsuffix .c,attn attn_rows attn_sm80 backward forward matmul nn))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(filter-out $(if $(CUDA),,$(ONLY_CUDA)),$(wildcard tests/test_*.c)))
TESTS   += $(if $(CUDA),$(patsubst tests/%.cu,$(BUILD)/tests/%,$(wildcard tests/test_*.cu)))
TESTS   += $(if $(SIMT),$(BUILD)/tests/test_simt)
HELPERS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/test_%.c tests/fault_shim.c tests/simulated_nccl.c,$(wildcard tests/*.c)))
SHIM    := $(BUILD)/tests/fault_shim.so
FUZZ    := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

# What is installed: the version is the header's, the exported functions are its KD_API declarations.
PREFIX     := /usr/local
BINDIR     := $(PREFIX)/bin
LIBDIR     := $(PREFIX)/lib
INCLUDEDIR := $(PREFIX)/include
MANDIR     := $(PREFIX)/share/man
BASHDIR    := $(PREFIX)/share/bash-completion/completions
ZSHDIR     := $(PREFIX)/share/zsh/site-functions
FISHDIR    := $(PREFIX)/share/fish/vendor_completions.d
VERSION    := $(shell sed -n 's/^.define KD_VERSION "\(.*\)"/\1/p' include/kedge.h)
MAJOR      := $(firstword $(subst ., ,$(VERSION)))
ABI        := $(shell sed -n 's/^.define KD_ABI //p' include/kedge.h)
PUBLIC     := $(shell sed -n 's/^KD_API [a-z0-9_ *]*\b\(kd_[a-z0-9_]*\).*/\1/p' include/kedge.h)
SHARED     := libkedge.so.$(VERSION)
PRODUCTS   := build/kedge $(BUILD)/lib/libkedge.a $(BUILD)/lib/$(SHARED) $(BUILD)/man/kedge.1

# Short lines by default; V=1 shows the commands.
Q   := $(if $(V),,@)
say  = @$(if $(V),:,printf '  %-4s %s\n' $1 $2)

.PHONY: all check check-python check-ranks check-nccl check-cuda check-release fuzz demo bench docs install uninstall dist deb \
	clean deps FORCE

all: $(PRODUCTS)

deps:
	@tools/deps

# The dependencies are looked for once; the stamp is renewed when the script changes.
build/deps: tools/deps
	@tools/deps
	@mkdir -p build && touch $@

build/kedge: $(BUILD)/kedge FORCE
	@ln -sfn $(FLAVOUR)/kedge $@

$(BUILD)/kedge: $(CLI) $(BUILD)/libkedge.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Everything, for the command and the tests.
$(BUILD)/libkedge.a: $(OBJECTS)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $^

# The installed libraries: the public functions and what they need, in one object that shows nothing else.
$(BUILD)/lib/kedge.o: $(BUILD)/libkedge.a include/kedge.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(if $(findstring -flto,$(CFLAGS)),$(KD_FLAGS) $(CFLAGS) -flinker-output=nolto-rel) -r -nostdlib $(PUBLIC:%=-Wl,-u,%) -o $@ $<
	$(Q)objcopy --localize-hidden $@

$(BUILD)/lib/libkedge.a: $(BUILD)/lib/kedge.o
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $<

$(BUILD)/lib/$(SHARED): $(BUILD)/lib/kedge.o
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) -Wl,-z,defs $(LDFLAGS) -shared -Wl,-soname,libkedge.so.$(ABI) -o $@ $< $(KEDGE_LIBS)

$(BUILD)/man/kedge.1: $(BUILD)/kedge tools/man
	$(call say,MAN,$(@D))
	$(Q)tools/man $(BUILD)/kedge $(@D)

$(BUILD)/%.o: %.c | build/deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(KD_CPP) $(KD_ABOUT) $(CPPFLAGS) $(KD_FLAGS) $(CFLAGS) $(call machine_flags,$<) -MMD -MP -c -o $@ $<

# What the assembler says of each kernel is kept beside the object, for tools/cuda_report.
ifeq ($(CUDA),1)
$(BUILD)/%.cu.o: %.cu | build/deps
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(filter -I% -D%,$(KD_CPP)) $(CPPFLAGS) $(KD_NVCC) $(NVCCFLAGS) $(call gpu_code,$<) -MMD -MP -MF $(@:.o=.d) -c -o $@ $< \
		2>$(@:.o=.ptxas) || { cat $(@:.o=.ptxas) >&2; exit 1; }
	@grep -E 'warning|Performance Loss' $(@:.o=.ptxas) >&2 || true
endif

ifeq ($(CUDA),simulated)
$(BUILD)/%.cu.o: %.cu | build/deps
	@mkdir -p $(@D)
	$(call say,SIMT,$<)
	$(Q)$(KD_CXX) $(KD_CPP) $(CPPFLAGS) $(KD_SIMT_CXX) $(KD_SIMT_RACES) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/simt/%.o: tests/simt/%.cc | build/deps
	@mkdir -p $(@D)
	$(call say,SIMT,$<)
	$(Q)$(KD_CXX) $(KD_CPP) $(CPPFLAGS) $(KD_SIMT_CXX) $(CFLAGS) -MMD -MP -c -o $@ $<
endif

# What the build says of itself is compiled last: a new commit alone makes nothing again. Without git the file knows its commit.
ABOUT  := $(BUILD)/src/cli/build_info.o
COMMIT  = $(if $(wildcard .git),$(shell git describe --always --abbrev=12 --exclude='*' --dirty 2>/dev/null))
$(ABOUT): $(OBJECTS) $(filter-out $(ABOUT),$(CLI))
$(ABOUT): private KD_ABOUT = $(COMMIT:%=-DKD_COMMIT='"%"') -DKD_FLAVOUR='"$(FLAVOUR)"' \
	-DKD_BUILD_FLAGS='"$(strip $(foreach f,$(CFLAGS),$(if $(findstring -prefix-map=,$f),,$f)))"'

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(HELPERS) $(BUILD)/libkedge.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

# Tests with kernels of their own.
$(BUILD)/tests/test_simt: $(BUILD)/tests/simt/test_simt.cu.o $(BUILD)/libkedge.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.cu.o $(BUILD)/libkedge.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

# test_comm_nccl on GPUs of the host's making, which stand in front of NCCL.
SIMULATED := $(if $(NCCL),$(if $(CUDA),,$(BUILD)/tests/on_simulated_nccl))
$(SIMULATED): $(BUILD)/tests/test_comm_nccl.o $(BUILD)/tests/simulated_nccl.o $(BUILD)/libkedge.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

# Makes chosen calls of a program fail; it stands in front of libc, so it has no sanitizer.
$(SHIM): tests/fault_shim.c tests/fault_shim.h | build/deps
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -Wall -Wextra -Wshadow -O2 -g -fPIC -shared -pthread -o $@ $< -ldl

$(BUILD)/tests/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libkedge.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/libkedge.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(KD_LINK) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(FUZZ:%=$(BUILD)/tests/fuzz/fuzz_%.d) $(OBJECTS:.o=.d) $(CLI:.o=.d) $(TESTS:=.d) $(TESTS:=.cu.d) $(BUILD)/tests/simt/test_simt.cu.d $(HELPERS:.o=.d)
.SECONDARY:

# Every test, the layers, and every header alone.
check: build/kedge $(TESTS) $(SHIM) $(SIMULATED) $(FUZZ:%=$(BUILD)/tests/replay_%) $(if $(filter $(CC),$(FLAVOUR)),$(BUILD)/lib/$(SHARED))
	@LAYERS="$(LAYERS)" CC="$(CC)" CPPFLAGS="$(KD_CPP)" AVX512_FLAGS="$(if $(X86),$(AVX512_FLAGS))" tests/run $(BUILD)

# The Python package with what KEDGE_PYTHON has.
check-python: build/kedge $(BUILD)/lib/$(SHARED)
	@tests/run $(BUILD) "script tests/cli_python.sh"

# What takes several processes: by TCP, and by MPI with MPI=1 or MPI=mpich.
check-ranks: build/kedge $(BUILD)/tests/test_comm $(SHIM)
	@JOBS=1 tests/run $(BUILD) "script tests/cli_ranks.sh" "script tests/cli_launch.sh" "script tests/cli_rank_faults.sh" "script tests/cli_hosts.sh"

# What NCCL=1 adds.
check-nccl: build/kedge $(BUILD)/tests/test_comm_nccl $(SIMULATED)
	@tests/run $(BUILD) "program test_comm_nccl" "script tests/cli_nccl.sh"

# What CUDA=1 or CUDA=simulated adds. Without a GPU the tests of CUDA=1 are skipped; what is looked at still is what its kernels take.
CUDA_TESTS := $(filter $(BUILD)/tests/test_cuda_% $(BUILD)/tests/test_gpu% %/test_simt,$(TESTS))
check-cuda: build/kedge $(CUDA_TESTS)
	@CC="$(CC)" CPPFLAGS="$(KD_CPP)" AVX512_FLAGS="$(if $(X86),$(AVX512_FLAGS))" tests/run $(BUILD) "once headers tests/check_headers" \
		$(if $(filter 1,$(CUDA)),"once kernels tools/cuda_report $(BUILD)") $(CUDA_TESTS:$(BUILD)/tests/%="program %") "script tests/cli_cuda.sh"

# The tarball, the packages and a new user's ways to install them, each in a root of its own.
check-release: build/kedge
	@tests/run $(BUILD) "script tests/cli_dist.sh" "script tests/release.sh"

# Each target for FUZZ_SECONDS (FUZZ="json yaml" names some); what is found lies in build/fuzz-found, the corpus that
# grows in build/fuzz-corpus.
FUZZ_SECONDS := 30
# Without vector code, which no parser has and which takes minutes to instrument.
FUZZ_FLAVOUR := X86= SAN=fuzzer-no-link,address,undefined CC=clang CFLAGS="-O1 -g -fno-sanitize-recover=all"
fuzz:
	@$(MAKE) --no-print-directory $(FUZZ_FLAVOUR) $(FUZZ:%=build/clang-fuzzer-no-link-address-undefined/fuzz/%)
	@mkdir -p build/fuzz-found
	@for t in $(FUZZ); do \
		mkdir -p build/fuzz-corpus/$$t && echo "$$t: $(FUZZ_SECONDS) s" && \
		build/clang-fuzzer-no-link-address-undefined/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 \
			-rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix=build/fuzz-found/$$t- \
			$$([ ! -e tests/fuzz/$$t.dict ] || echo -dict=tests/fuzz/$$t.dict) \
			build/fuzz-corpus/$$t tests/fuzz/corpus/$$t >build/fuzz-found/$$t.log 2>&1 || { tail -n 40 build/fuzz-found/$$t.log; exit 1; }; \
		grep -E 'number_of_executed_units|peak_rss_mb' build/fuzz-found/$$t.log; \
	done

demo: build/kedge
	@examples/demo/run

# Pages that the command's own help is part of.
docs: build/kedge
	@tools/gen_docs.py build/kedge $$(grep -l '^<!-- kedge: ' docs/*.md)

# This machine's figures beside its limits; BENCH="--only gemm" and what else bench/run.py --help says.
bench: build/kedge
	@python3 bench/run.py $(BENCH)

under_prefix = $(patsubst $(PREFIX)/%,$${prefix}/%,$1)
substitute = sed -e 's|@PREFIX@|$(PREFIX)|; s|@PC_LIBDIR@|$(call under_prefix,$(LIBDIR))|' \
	-e 's|@PC_INCLUDEDIR@|$(call under_prefix,$(INCLUDEDIR))|' -e 's|@KEDGE_LIBS@|$(KEDGE_LIBS)|' \
	-e "s|@INCLUDE_FROM_LIB@|$$(realpath -ms --relative-to=$(LIBDIR) $(INCLUDEDIR))|" \
	-e 's|@VERSION@|$(VERSION)|; s|@MAJOR@|$(MAJOR)|; s|@ABI@|$(ABI)|; s|@CMAKE_LIBS@|$(subst $() ,;,$(KEDGE_LIBS))|'

install: $(PRODUCTS)
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(INCLUDEDIR) $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/kedge $(MANDIR)/man1 $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	install -m 755 $(BUILD)/kedge $(DESTDIR)$(BINDIR)/
	install -m 644 include/kedge.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(BUILD)/lib/libkedge.a $(BUILD)/lib/$(SHARED) $(DESTDIR)$(LIBDIR)/
	ln -sf $(SHARED) $(DESTDIR)$(LIBDIR)/libkedge.so.$(ABI)
	ln -sf libkedge.so.$(ABI) $(DESTDIR)$(LIBDIR)/libkedge.so
	$(substitute) tools/install/kedge.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/kedge.pc
	for f in kedge-config kedge-config-version; do \
		$(substitute) tools/install/$$f.cmake.in >$(DESTDIR)$(LIBDIR)/cmake/kedge/$$f.cmake || exit 1; done
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(MANDIR)/man1/
	install -m 644 tools/install/kedge.bash $(DESTDIR)$(BASHDIR)/kedge
	install -m 644 tools/install/kedge.zsh $(DESTDIR)$(ZSHDIR)/_kedge
	install -m 644 tools/install/kedge.fish $(DESTDIR)$(FISHDIR)/kedge.fish

uninstall:
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/kedge $(INCLUDEDIR)/kedge.h $(LIBDIR)/libkedge.a $(LIBDIR)/libkedge.so* \
		$(LIBDIR)/pkgconfig/kedge.pc $(MANDIR)/man1/kedge.1 $(MANDIR)/man1/kedge-*.1 \
		$(BASHDIR)/kedge $(ZSHDIR)/_kedge $(FISHDIR)/kedge.fish)
	rm -rf $(DESTDIR)$(LIBDIR)/cmake/kedge

# docs/release.md says what is done with them.
DIST := build/dist
dist:
	@tools/dist $(DIST)

deb: dist
	@tools/deb $(DIST)/kedge-$(VERSION).tar.gz $(DIST)

clean:
	rm -rf build
