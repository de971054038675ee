# make, make check, make demo; options: SAN=address,undefined | thread, CC=clang. See CONTRIBUTING.md.
SHELL := /bin/bash
.DELETE_ON_ERROR:

# The architecture: a folder includes itself and what stands left of it (`make check` proves it).
LAYERS := base format dev attn nn data par model train eval probe

CC     := gcc
SAN    :=
comma  := ,
FLAVOUR := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
BUILD  := build/$(FLAVOUR)

CFLAGS   := -O2 -g
KD_FLAGS := -std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -ffp-contract=off -fno-strict-aliasing -fvisibility=hidden -pthread
CPPFLAGS := -Iinclude -Isrc -D_POSIX_C_SOURCE=200809L
LDLIBS   := -ljansson -lyaml -lzstd -lxxhash -lm -pthread
ifneq ($(SAN),)
KD_FLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer
endif

# A file's suffix says the machine.
X86 := $(filter x86_64,$(shell uname -m))
AVX2_FLAGS   := -mavx2 -mfma -mf16c
AVX512_FLAGS := $(AVX2_FLAGS) -mavx512f -mavx512dq -mavx512bw -mavx512vl
ifneq ($(X86),)
CPPFLAGS += -DKD_X86
endif
machine_flags = $(if $(findstring _avx512,$1),$(AVX512_FLAGS),$(if $(findstring _avx2,$1),$(AVX2_FLAGS)))

SOURCES := $(foreach layer,$(LAYERS),$(wildcard src/$(layer)/*.c))
ifeq ($(X86),)
SOURCES := $(filter-out %_avx2.c %_avx512.c,$(SOURCES))
endif
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
CLI     := $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/cli/*.c))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
HELPERS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/test_%.c,$(wildcard tests/*.c)))
HEADERS := $(wildcard include/*.h src/*/*.h)

# Short lines by default; V=1 shows the commands.
Q   := $(if $(V),,@)
say  = @$(if $(V),:,printf '  %-4s %s\n' $1 $2)

.PHONY: all check demo clean deps FORCE
all: build/kedge

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
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/libkedge.a: $(OBJECTS)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $^

$(BUILD)/%.o: %.c | build/deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(KD_FLAGS) $(CFLAGS) $(call machine_flags,$<) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(HELPERS) $(BUILD)/libkedge.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(KD_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

-include $(OBJECTS:.o=.d) $(CLI:.o=.d) $(TESTS:=.d) $(HELPERS:.o=.d)
.SECONDARY:

# Every test, the layers, and every header alone.
check: build/kedge $(TESTS)
	@LAYERS="$(LAYERS)" CC="$(CC)" CPPFLAGS="$(CPPFLAGS)" AVX512_FLAGS="$(if $(X86),$(AVX512_FLAGS))" tests/run $(BUILD)

demo: build/kedge
	@examples/demo/run

clean:
	rm -rf build
