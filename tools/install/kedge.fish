# Completion of kedge in fish: commands, options and keys of run files, with what each is, asked from the command's own help.

# Rows of the help on stdin, "  left  right", behind the line that is named, if one is.
function __kedge_rows
    awk -v begin="$argv[1]" 'BEGIN { on = begin == "" }
        /^(more|exit codes):$/ { exit }
        on && /^  [a-z]/ { name = $1; $1 = ""; print name end "\t" substr($0, 2) }
        $0 == begin { on = 1; end = begin == "keys:" ? "=" : "" }'
end

# What has been typed behind the command, without help.
function __kedge_typed
    set -l typed (commandline -opc)
    test "$typed[2]" = help; and set -e typed[2]
    printf '%s\n' $typed[2..-1]
end

# The names that belong here; fails where options and files do.
function __kedge_names
    set -l words (commandline -opc)
    set -l typed (__kedge_typed)
    if test "$words[-1]" = --set
        $words[1] help run-file 2>/dev/null | __kedge_rows keys:
    else if test -z "$typed"
        $words[1] --help 2>/dev/null | __kedge_rows
        if test (count $words) -eq 1
            printf '%s\t%s\n' help 'options and examples of a command' --version 'what this build contains'
        else
            printf '%s\t%s\n' run-file 'what a run file says' --json 'all of it for programs'
        end
    else
        set -l help ($words[1] help $typed[1] 2>/dev/null)
        test (count $typed) -eq 1; and contains what: $help; or return 1
        printf '%s\n' $help | __kedge_rows what:
    end
end

function __kedge_options
    set -l kedge (commandline -opc)[1]
    set -l typed (__kedge_typed)
    set -l help ($kedge help $typed[1] 2>/dev/null)
    contains what: $help; and set help ($kedge help $typed[1..2] 2>/dev/null)
    printf '%s\n' $help | awk '/^  -/ { name = $1; sub(/,$/, "", name); sub(/^  -[^ ]*( [^ ]+)? */, ""); print name "\t" $0 }'
end

complete -c kedge -f -n '__kedge_names >/dev/null' -a '(__kedge_names)'
complete -c kedge -n 'not __kedge_names >/dev/null' -a '(__kedge_options)'
