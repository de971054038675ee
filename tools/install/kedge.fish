# Completion of kedge in fish: commands, options and keys of run files, with what each is, asked from the command's own help.
function __kedge_rows  # "  left  right" of the help's section on stdin, behind a line of it if one is named
    awk -v begin="$argv[1]" 'BEGIN { on = begin == "" } /^(more|exit codes):$/ { exit } on && /^  [a-z]/ { name = $1; $1 = ""; print name end "\t" substr($0, 2) }
        $0 == begin { on = 1; end = begin == "keys:" ? "=" : "" }'
end
function __kedge_complete
    set -l typed (commandline -opc)
    set -l kedge $typed[1]
    set -e typed[1]
    if test "$typed[-1]" = --set
        $kedge help run-file 2>/dev/null | __kedge_rows keys:
    else if test (count $typed) -eq 0; or test "$typed" = help
        $kedge --help 2>/dev/null | __kedge_rows
        if test (count $typed) -eq 0
            printf '%s\t%s\n' help 'options and examples of a command' --version 'what this build contains'
        else
            printf '%s\t%s\n' run-file 'what a run file says' --json 'all of it for programs'
        end
    else
        test "$typed[1]" = help; and set -e typed[1]
        set -l text ($kedge help $typed[1] 2>/dev/null)
        if contains what: $text
            if test (count $typed) -eq 1
                printf '%s\n' $text | __kedge_rows what:
                return
            end
            set text ($kedge help $typed[1..2] 2>/dev/null)
        end
        printf '%s\n' $text | awk '/^  -/ { name = $1; sub(/,$/, "", name); sub(/^  -[^ ]*( [^ ]+)? */, ""); print name "\t" $0 }'
    end
end
complete -c kedge -a '(__kedge_complete)'
