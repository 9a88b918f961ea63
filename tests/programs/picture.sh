# What ImageMagick does with files, pipes, threads and its temporary files: the pixels must be the same.
set -eu
convert=/usr/bin/convert identify=/usr/bin/identify
$convert -size 320x200 gradient:red-blue -depth 8 a.png
$convert -size 320x200 pattern:checkerboard -swirl 90 -colorize 20 -depth 8 -resize 50% b.png
$convert a.png b.png -gravity center -composite -rotate 30 -blur 0x3 -depth 8 c.ppm
$identify -format '%f %m %wx%h %z\n' a.png b.png c.ppm
md5sum <c.ppm
$convert c.ppm -resize 640x480 -quality 80 jpg:- | $convert jpg:- -colorspace gray -depth 8 pgm:- | $identify -format '%m %wx%h\n' -
$convert a.png b.png -delay 10 -loop 0 anim.gif
$identify -format '%s %wx%h\n' anim.gif
# With little memory its pixels lie in a mapped file, with less in one that is read and written.
$convert -limit memory 1MiB -limit map 1MiB c.ppm -resize 600x500 -edge 2 -depth 8 big.ppm
md5sum <big.ppm
$convert -limit memory 0 -limit map 0 c.ppm -resize 500x300 -flip -depth 8 rgb:- | md5sum
$convert -limit thread 4 -size 400x400 xc:white -fill black -draw 'circle 200,200 200,50' -distort Arc 120 -depth 8 rgb:- | md5sum
$convert no-such.png out.png || echo "status $?"
printf 'not a picture' >bad.png; $convert bad.png out.png || echo "status $?"
/usr/bin/mogrify -resize 25% -format pnm a.png b.png; ls; /usr/bin/compare -metric AE a.png a.png null: ; echo
/usr/bin/montage a.png b.png -geometry 100x100+2+2 -depth 8 m.ppm 2>/dev/null; $identify -format '%wx%h\n' m.ppm
rm -f *.png *.gif
