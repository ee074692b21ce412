# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Completes overlayctl(1) in fish. Made by generate.py: change that, then `make completions`.

# The verb of the command line, if it has one yet.
function __overlayctl_verb
    set -l words (commandline -opc)
    set -l value no
    for word in $words[2..]
        if test $value = yes
            set value no
            continue
        end
        switch $word
            case --color
                set value yes
            case '-*'
            case '*'
                echo $word
                return 0
        end
    end
    return 1
end

function __overlayctl_is
    set -l verb (__overlayctl_verb)
    and test $verb = $argv[1]
end

complete -c overlayctl -f
complete -c overlayctl -s h -l help -d 'show this help message and exit'
complete -c overlayctl -l color -x -a 'auto always never' -d 'auto (on a terminal, the default), always or never'
complete -c overlayctl -l no-pager -d 'write long output without a pager'
complete -c overlayctl -n 'not __overlayctl_verb' -l version -d 'show program\'s version number and exit'
complete -c overlayctl -n 'not __overlayctl_verb' -a status -d 'show what the overlays are doing, and whether that is what was asked for'
complete -c overlayctl -n 'not __overlayctl_verb' -a metrics -d 'write the status as numbers, for Prometheus and the like'
complete -c overlayctl -n 'not __overlayctl_verb' -a diff -d 'show what has been changed against the image'
complete -c overlayctl -n 'not __overlayctl_verb' -a preview -d 'show what an update of the image will do, before it is made'
complete -c overlayctl -n 'not __overlayctl_verb' -a restore -d 'give files of the image back at the next boot'
complete -c overlayctl -n 'not __overlayctl_verb' -a reset -d 'empty upper layers at the next boot'
complete -c overlayctl -n 'not __overlayctl_verb' -a commit -d 'keep the data written since an update for good'
complete -c overlayctl -n 'not __overlayctl_verb' -a rollback -d 'show what would go back with the image before an update'
complete -c overlayctl -n 'not __overlayctl_verb' -a export -d 'write the changes into a tar for the next build of the image'
complete -c overlayctl -n 'not __overlayctl_verb' -a check -d 'look for mistakes in a machine or in the tree of an image'
complete -c overlayctl -n 'not __overlayctl_verb' -a render -d 'write static units for an image without Python'
complete -c overlayctl -n 'not __overlayctl_verb' -a save -d 'pack what the generator reads, for a bug report'

complete -c overlayctl -n '__overlayctl_is status' -F
complete -c overlayctl -n '__overlayctl_is status' -l json -d 'everything as one JSON object, see overlayctl(1)'

complete -c overlayctl -n '__overlayctl_is metrics' -l textfile -x -a '(__fish_complete_directories)' -d 'write DIR/overlay.prom, whole or not at all'

complete -c overlayctl -n '__overlayctl_is diff' -F
complete -c overlayctl -n '__overlayctl_is diff' -l json -d 'write an object of JSON in each line'
complete -c overlayctl -n '__overlayctl_is diff' -l stat -d 'write counts and sizes alone'
complete -c overlayctl -n '__overlayctl_is diff' -l name-only -d 'write paths alone'
complete -c overlayctl -n '__overlayctl_is diff' -l content -d 'add unified diffs of text files'
complete -c overlayctl -n '__overlayctl_is diff' -s z -l null -d 'with --name-only: end each path with a NUL byte'
complete -c overlayctl -n '__overlayctl_is diff' -l stale -d 'only what may hide a newer version of the image'
complete -c overlayctl -n '__overlayctl_is diff' -l since-update -d 'only what was written since an update froze what there was'
complete -c overlayctl -n '__overlayctl_is diff' -l against -r -F -d 'another image: a directory, a file, a disk or a device'
complete -c overlayctl -n '__overlayctl_is diff' -l partition -x -d 'of a disk, with --against'
complete -c overlayctl -n '__overlayctl_is diff' -l upper -x -a '(__fish_complete_directories)' -d 'the upper layer'
complete -c overlayctl -n '__overlayctl_is diff' -l lower -x -a '(__fish_complete_directories)' -d 'the image\'s directory'
complete -c overlayctl -n '__overlayctl_is diff' -l frozen -x -a '(__fish_complete_directories)' -d 'what an update has frozen, between the two (frozen/upper)'
complete -c overlayctl -n '__overlayctl_is diff' -l work -x -a '(__fish_complete_directories)' -d 'the work directory, if the overlay was mounted with index=on'
complete -c overlayctl -n '__overlayctl_is diff' -l where -x -a '(__fish_complete_directories)' -d 'where it is mounted otherwise (default: /)'

complete -c overlayctl -n '__overlayctl_is preview' -F
complete -c overlayctl -n '__overlayctl_is preview' -l json -d 'write an object of JSON in each line'
complete -c overlayctl -n '__overlayctl_is preview' -l fail-on -x -d 'exit status 1 if there is a finding of one of these kinds'
complete -c overlayctl -n '__overlayctl_is preview' -l policy -x -a 'keep refresh prune reset' -d 'in place of NEW\'s Policy='
complete -c overlayctl -n '__overlayctl_is preview' -l partition -x -d 'of a disk with several images'
complete -c overlayctl -n '__overlayctl_is preview' -l upper -x -a '(__fish_complete_directories)' -d 'the upper layer; prepare\'s notes beside it are read'
complete -c overlayctl -n '__overlayctl_is preview' -l old -r -F -d 'the image that it was over, given as NEW is'
complete -c overlayctl -n '__overlayctl_is preview' -l where -x -a '(__fish_complete_directories)' -d 'where it is mounted otherwise (default: /var)'

complete -c overlayctl -n '__overlayctl_is restore' -F
complete -c overlayctl -n '__overlayctl_is restore' -l dry-run -d 'say what would be staged, and stage nothing'
complete -c overlayctl -n '__overlayctl_is restore' -l cancel -d 'take staged paths back'

complete -c overlayctl -n '__overlayctl_is reset' -F
complete -c overlayctl -n '__overlayctl_is reset' -l keep -x -d 'an absolute path that stays'
complete -c overlayctl -n '__overlayctl_is reset' -l backup -r -F -d 'write the upper layers into this tar first'
complete -c overlayctl -n '__overlayctl_is reset' -l dry-run -d 'say what would go and what would stay, and stage nothing'
complete -c overlayctl -n '__overlayctl_is reset' -l cancel -d 'take back what is staged'

complete -c overlayctl -n '__overlayctl_is commit' -a '(__fish_complete_directories)'
complete -c overlayctl -n '__overlayctl_is commit' -l dry-run -d 'say what would be staged, and stage nothing'
complete -c overlayctl -n '__overlayctl_is commit' -l cancel -d 'take it back'

complete -c overlayctl -n '__overlayctl_is rollback' -a '(__fish_complete_directories)'
complete -c overlayctl -n '__overlayctl_is rollback' -l dry-run -d 'required, as nothing else can be done here'

complete -c overlayctl -n '__overlayctl_is export' -F
complete -c overlayctl -n '__overlayctl_is export' -l deletions -r -F -d 'the file to be written with the list of deletions'
complete -c overlayctl -n '__overlayctl_is export' -l undone -d 'what a step back has put aside instead, as it lies in the layer'
complete -c overlayctl -n '__overlayctl_is export' -s z -l null -d 'end the paths in the list with NUL bytes'
complete -c overlayctl -n '__overlayctl_is export' -l upper -x -a '(__fish_complete_directories)' -d 'the upper layer'
complete -c overlayctl -n '__overlayctl_is export' -l lower -x -a '(__fish_complete_directories)' -d 'the image\'s directory'
complete -c overlayctl -n '__overlayctl_is export' -l frozen -x -a '(__fish_complete_directories)' -d 'what an update has frozen, between the two (frozen/upper)'
complete -c overlayctl -n '__overlayctl_is export' -l work -x -a '(__fish_complete_directories)' -d 'the work directory, if the overlay was mounted with index=on'
complete -c overlayctl -n '__overlayctl_is export' -l where -x -a '(__fish_complete_directories)' -d 'where it is mounted otherwise (default: /)'

complete -c overlayctl -n '__overlayctl_is check' -l root -x -a '(__fish_complete_directories)' -d 'the tree of an image (default: this machine)'
complete -c overlayctl -n '__overlayctl_is check' -l kernel -r -F -d 'the kernel\'s configuration, plain or gzipped'
complete -c overlayctl -n '__overlayctl_is check' -l cmdline -x -d 'the kernel command line that the image will be booted with'
complete -c overlayctl -n '__overlayctl_is check' -l hardening -d 'also what a stranger with the disk could make of it; as root'
complete -c overlayctl -n '__overlayctl_is check' -l json -d 'everything as one JSON object, see overlayctl(1)'

complete -c overlayctl -n '__overlayctl_is render' -l root -x -a '(__fish_complete_directories)' -d 'the tree of the image'
complete -c overlayctl -n '__overlayctl_is render' -l output -x -a '(__fish_complete_directories)' -d 'write below this directory; usually that of --root'
complete -c overlayctl -n '__overlayctl_is render' -l cmdline -x -d 'words of the kernel command line that are known now (default: overlayfs.mounts)'
complete -c overlayctl -n '__overlayctl_is render' -l selinux-context -x -d 'mount in this SELinux context (default: the one that the policy gives to mount)'
complete -c overlayctl -n '__overlayctl_is render' -l always -d 'mount even if overlayfs.mounts is not given'

complete -c overlayctl -n '__overlayctl_is save' -F
complete -c overlayctl -n '__overlayctl_is save' -l root -x -a '(__fish_complete_directories)' -d 'the tree of an image (default: this machine)'
complete -c overlayctl -n '__overlayctl_is save' -l cmdline -x -d 'the kernel command line, in place of the one there'
complete -c overlayctl -n '__overlayctl_is save' -l note -x -d 'a line on what is wrong'
